// The device to compute on, and what is known about it.
#pragma once

#include <filesystem>
#include <string>

#include "results/store.h"
#include "suites/plan.h"

namespace oasis {

struct ComputeInfo {
  std::string torch_version;
  int threads = 0;
  bool cuda = false;          // a GPU can be used
  std::string cuda_reason;    // why not
  bool cuda_kernels = false;  // liboasis_cuda.so is there too
  std::string gpu;            // name and count, "" without one
  std::string driver;         // "" without one
};
ComputeInfo compute_info();

// "cpu", "cuda" or "auto", and a suite's dtype, into what will be used. Throws Error (bad input)
// when a GPU is asked for and there is none, and for bfloat16 on the CPU.
RunDevice choose_device(const std::string& device, const std::string& dtype,
                        const std::string& source);

void set_threads(int threads);  // 0: one per core that this process may use

// Machine, libraries, revision and command line, for the database.
Environment run_environment(const RunDevice& device);

// Throws Error (bad input) when the folder, or the nearest existing one above it, cannot be
// written.
void require_writable(const std::filesystem::path& folder);

}  // namespace oasis
