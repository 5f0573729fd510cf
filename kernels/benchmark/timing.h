// How long a piece of work takes on a device, from memory that is not in its caches.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

namespace oasis::bench {

// Writes a buffer larger than the last-level cache before each measurement. On CUDA the time
// between two events on the current stream, recorded while the device still writes that buffer, so
// that the launches are ahead of it; elsewhere wall time.
class ColdTimer {
 public:
  explicit ColdTimer(at::Device device);
  double seconds(const std::function<void()>& work) const;
  // What it holds of the memory that a MemoryMeter counts.
  std::int64_t device_bytes() const;

 private:
  void clear_caches() const;
  at::Device device_;
  at::Tensor buffer_;
};

// Waits until the device has nothing left to do.
void synchronize(at::Device device);

// The most memory that was held since `begin`, for one device at a time: on CUDA what the caching
// allocator had reserved, on the CPU how far the resident set has grown.
class MemoryMeter {
 public:
  explicit MemoryMeter(at::Device device) : device_(device) {}
  void begin();
  std::int64_t peak_bytes() const;

 private:
  at::Device device_;
  std::int64_t resident_ = 0;
};

void release_cached_memory(at::Device device);

}  // namespace oasis::bench
