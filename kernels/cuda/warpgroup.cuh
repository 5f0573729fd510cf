// What matrix products of a warpgroup (four warps, 64 rows) share, on compute capability 9.0;
// architecture-specific, so compiled for sm_90a alone.
//
// Operands in shared memory lie in rows of 128 bytes whose 16-byte chunks are permuted by the row,
// the first row at a multiple of 1024 bytes: what the hardware calls the 128-byte swizzle.
// Accumulators are distributed over a warp's lanes as those of mma.cuh, warp w holding rows
// [16w, 16w + 16).
#pragma once

#include <cstdint>

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define OASIS_WARPGROUP_MMA 1
#endif

namespace oasis::cuda {

#ifdef OASIS_WARPGROUP_MMA

// Of 64 rows. For a product with the rows' transpose the sum runs along them: 16 columns further
// are 32 bytes. For a product with the rows themselves it runs over them: 16 rows further.
__device__ inline std::uint64_t matrix_descriptor(std::uint32_t address) {
  constexpr std::uint64_t kSwizzle128 = 1ull << 62;
  constexpr std::uint64_t kEightRows = static_cast<std::uint64_t>(1024 >> 4) << 32;
  constexpr std::uint64_t kUnused = 1ull << 16;
  return kSwizzle128 | kEightRows | kUnused | ((address & 0x3ffff) >> 4);
}

// Before the first product that reads registers written otherwise.
__device__ inline void warpgroup_begin() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ inline void warpgroup_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// Until at most so many groups are under way.
template <int kPending>
__device__ void warpgroup_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

#endif

}  // namespace oasis::cuda
