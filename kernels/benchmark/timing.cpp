#include "kernels/benchmark/timing.h"

#include <ATen/ops/empty.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/Event.h>
#include <c10/core/Stream.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <malloc.h>

#include <chrono>
#include <fstream>
#include <string>

namespace oasis::bench {
namespace {

// Larger than the second-level cache of any GPU and than most processors' third-level cache.
constexpr std::int64_t kDeviceBuffer = std::int64_t{256} << 20;
constexpr std::int64_t kHostBuffer = std::int64_t{64} << 20;
// 256 MB four times keep a GPU busy for about 0.4 ms: as long as the host needs to launch what
// follows.
constexpr int kDeviceWrites = 4;

c10::Stream current_stream(at::Device device) {
  return c10::impl::VirtualGuardImpl(device.type()).getStream(device);
}

// A line "name:   1234 kB" of /proc/self/status (proc(5)), in bytes; 0 where there is none.
std::int64_t process_memory(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(name + ":")) return std::stoll(line.substr(name.size() + 1)) * 1024;
  }
  return 0;
}

}  // namespace

ColdTimer::ColdTimer(at::Device device)
    : device_(device),
      buffer_(at::empty({device.is_cpu() ? kHostBuffer : kDeviceBuffer},
                        at::TensorOptions(at::kByte).device(device))) {}

void ColdTimer::clear_caches() const {
  for (int i = 0; i < (device_.is_cpu() ? 1 : kDeviceWrites); ++i) buffer_.fill_(i);
}

std::int64_t ColdTimer::device_bytes() const {
  return device_.is_cpu() ? 0 : kDeviceBuffer;
}

double ColdTimer::seconds(const std::function<void()>& work) const {
  clear_caches();
  if (device_.is_cpu()) {
    const auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  c10::Event begin(device_.type(), c10::EventFlag::BACKEND_DEFAULT);
  c10::Event end(device_.type(), c10::EventFlag::BACKEND_DEFAULT);
  const auto stream = current_stream(device_);
  begin.record(stream);
  work();
  end.record(stream);
  end.synchronize();
  return begin.elapsedTime(end) / 1e3;
}

void synchronize(at::Device device) {
  if (!device.is_cpu())
    c10::impl::VirtualGuardImpl(device.type()).synchronizeDevice(device.index());
}

void release_cached_memory(at::Device device) {
  if (device.is_cpu()) {
    ::malloc_trim(0);
  } else {
    synchronize(device);
    at::getDeviceAllocator(device.type())->emptyCache();
  }
}

void MemoryMeter::begin() {
  release_cached_memory(device_);
  if (device_.is_cpu()) {
    std::ofstream("/proc/self/clear_refs") << "5";  // the peak begins anew (proc(5))
    resident_ = process_memory("VmRSS");
  } else {
    at::getDeviceAllocator(device_.type())->resetPeakStats(device_.index());
  }
}

std::int64_t MemoryMeter::peak_bytes() const {
  if (device_.is_cpu()) return process_memory("VmHWM") - resident_;
  return at::getDeviceAllocator(device_.type())
      ->getDeviceStats(device_.index())
      .reserved_bytes[0]
      .peak;
}

}  // namespace oasis::bench
