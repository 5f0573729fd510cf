#include "suites/compute.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <dlfcn.h>
#include <torch/version.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "results/environment.h"
#include "support/error.h"

namespace oasis {
namespace {

// The CUDA half of the wheel is loaded only when a GPU may be used: loading takes seconds and the
// program must also run where it is missing. It has to happen before Torch is first asked about
// CUDA, because Torch keeps the first answer.
struct CudaLibraries {
  bool torch = false;
  bool kernels = false;  // ours, where they were built: without them operators are compositions
};

const CudaLibraries& load_cuda_libraries() {
  static const CudaLibraries loaded = [] {
    CudaLibraries libraries;
    libraries.torch = ::dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) != nullptr;
    libraries.kernels =
        libraries.torch && ::dlopen("liboasis_cuda.so", RTLD_NOW | RTLD_GLOBAL) != nullptr;
    return libraries;
  }();
  return loaded;
}

struct Gpus {
  std::string problem;  // why there is none
  std::string name;
  int count = 0;
  std::string driver;
};

// The driver's own libraries, so that no CUDA header is needed.
template <typename Function>
Function symbol(void* library, const char* name) {
  return reinterpret_cast<Function>(::dlsym(library, name));
}

std::string driver_version() {
  void* library = ::dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return "";
  const auto init = symbol<int (*)()>(library, "nvmlInit_v2");
  const auto version = symbol<int (*)(char*, unsigned)>(library, "nvmlSystemGetDriverVersion");
  std::array<char, 96> text{};
  if (init == nullptr || version == nullptr || init() != 0 ||
      version(text.data(), text.size()) != 0) {
    return "";
  }
  return text.data();
}

Gpus find_gpus() {
  Gpus gpus;
  void* library = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    gpus.problem = "no NVIDIA driver on this machine (libcuda.so.1)";
    return gpus;
  }
  const auto init = symbol<int (*)(unsigned)>(library, "cuInit");
  const auto device_count = symbol<int (*)(int*)>(library, "cuDeviceGetCount");
  const auto device_name = symbol<int (*)(char*, int, int)>(library, "cuDeviceGetName");
  if (init == nullptr || device_count == nullptr || device_name == nullptr || init(0) != 0 ||
      device_count(&gpus.count) != 0 || gpus.count == 0) {
    gpus.count = 0;
    gpus.problem = "the NVIDIA driver finds no GPU";
    return gpus;
  }
  std::array<char, 256> name{};
  if (device_name(name.data(), name.size(), 0) == 0) gpus.name = name.data();
  gpus.driver = driver_version();
  return gpus;
}

const Gpus& gpus() {
  static const Gpus found = find_gpus();
  return found;
}

std::vector<std::string> own_command_line() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  std::vector<std::string> arguments;
  std::string argument;
  while (std::getline(file, argument, '\0')) arguments.push_back(argument);
  return arguments;
}

}  // namespace

ComputeInfo compute_info() {
  ComputeInfo info;
  info.torch_version = TORCH_VERSION;
  info.threads = at::get_num_threads();
  const Gpus& found = gpus();
  if (found.count == 0) {
    info.cuda_reason = found.problem;
    return info;
  }
  info.gpu = found.count == 1 ? found.name : fmt::format("{} x {}", found.count, found.name);
  info.driver = found.driver;
  info.cuda_kernels = load_cuda_libraries().kernels;
  if (!load_cuda_libraries().torch) {
    info.cuda_reason = "this torch wheel has no libtorch_cuda.so; install the CUDA build";
  } else if (!at::hasCUDA()) {
    info.cuda_reason = "Torch cannot use the GPU; is the driver recent enough for CUDA 13?";
  } else {
    info.cuda = true;
  }
  return info;
}

RunDevice choose_device(const std::string& device, const std::string& dtype,
                        const std::string& source) {
  RunDevice chosen;
  if (device != "cpu") {
    const ComputeInfo info = compute_info();
    if (device == "cuda" && !info.cuda) {
      throw bad_input("--device cuda: {}; use --device cpu or auto", info.cuda_reason);
    }
    chosen.type = info.cuda ? "cuda" : "cpu";
  }
  chosen.dtype = dtype != "auto" ? dtype : chosen.type == "cuda" ? "bfloat16" : "float32";
  if (chosen.type == "cpu" && chosen.dtype == "bfloat16") {
    throw bad_input("{}: training.dtype: bfloat16 is for a GPU; use auto or float32 on the CPU",
                    source);
  }
  return chosen;
}

void set_threads(int threads) {
  if (threads > 0) at::set_num_threads(threads);
}

Environment run_environment(const RunDevice& device) {
  const auto arguments = own_command_line();
  std::vector<const char*> pointers;
  for (const auto& argument : arguments) pointers.push_back(argument.c_str());
  Environment environment = host_environment(static_cast<int>(pointers.size()), pointers.data());
  environment.libraries["torch"] = TORCH_VERSION;
  environment.libraries["threads"] = std::to_string(at::get_num_threads());
  if (device.type == "cuda") {
    const ComputeInfo info = compute_info();
    environment.gpu = info.gpu;
    environment.driver = info.driver;
  }
  return environment;
}

void require_writable(const std::filesystem::path& folder) {
  std::filesystem::path existing = std::filesystem::absolute(folder);
  std::error_code ignored;
  while (!std::filesystem::exists(existing, ignored) && existing.has_relative_path()) {
    existing = existing.parent_path();
  }
  if (!std::filesystem::is_directory(existing, ignored)) {
    throw bad_input("{}: {} is not a folder; choose a run folder with --out", folder.string(),
                    existing.string());
  }
  if (::access(existing.c_str(), W_OK | X_OK) != 0) {
    throw bad_input("{}: {} cannot be written; choose a run folder with --out", folder.string(),
                    existing.string());
  }
}

}  // namespace oasis
