// Clusters of blocks that share what the copy engine fetches, on compute capability 9.0. A cluster
// of one block is a plain block.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "kernels/cuda/barrier.cuh"

namespace oasis::cuda {

#ifdef OASIS_WARPGROUP_MMA

template <int kCluster>
__device__ int cluster_rank() {
  if constexpr (kCluster == 1) return 0;
  int rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

template <int kCluster>
__device__ void meet() {
  if constexpr (kCluster == 1) {
    __syncthreads();
  } else {
    asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
    asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
  }
}

// At a barrier of the same place in every block of the cluster. What it says is that products have
// read a buffer: no writes of this thread need to be ordered before it, for which it would wait.
template <int kCluster>
__device__ void arrive_everywhere(std::uint32_t barrier) {
  if constexpr (kCluster == 1) {
    arrive(barrier);
  } else {
#pragma unroll
    for (int rank = 0; rank < kCluster; ++rank) {
      asm volatile(
          "{\n.reg .b32 there;\nmapa.shared::cluster.u32 there, %0, %1;\n"
          "mbarrier.arrive.shared::cluster.b64 _, [there];\n}\n" ::"r"(barrier),
          "r"(rank)
          : "memory");
    }
  }
}

__device__ inline void load_box(std::uint32_t to, const CUtensorMap& map, int input, int row,
                                std::uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
      " [%0], [%1, {%2, %3}], [%4];" ::"r"(to),
      "l"(&map), "r"(input), "r"(row), "r"(barrier)
      : "memory");
}

// To the same place in both blocks of a cluster.
__device__ inline void load_box_for_both(std::uint32_t to, const CUtensorMap& map, int input,
                                         int row, std::uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
      ".multicast::cluster [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(to),
      "l"(&map), "r"(input), "r"(row), "r"(barrier), "h"(static_cast<std::uint16_t>(3))
      : "memory");
}

#endif

}  // namespace oasis::cuda
