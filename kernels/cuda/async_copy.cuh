// Copies from global to shared memory that run beside the computation.
#pragma once

#include <cstdint>

namespace oasis::cuda {

// 16 bytes of which the first `bytes` are read and the others become zero.
__device__ inline void copy_async_part(std::uint32_t shared, const void* global, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(global),
               "r"(bytes)
               : "memory");
}

// 4, 8 or 16 bytes, both addresses multiples of that; zeros when `valid` is false, and then nothing is
// read.
template <int kBytes>
__device__ void copy_async(std::uint32_t shared, const void* global, bool valid) {
  const int bytes = valid ? kBytes : 0;
  if constexpr (kBytes == 16) {
    copy_async_part(shared, global, bytes);
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared), "l"(global),
                 "n"(kBytes), "r"(bytes)
                 : "memory");
  }
}

// Closes a group of copies.
__device__ inline void commit_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

// Waits until at most `kPending` of this thread's groups are unfinished.
template <int kPending>
__device__ inline void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

}  // namespace oasis::cuda
