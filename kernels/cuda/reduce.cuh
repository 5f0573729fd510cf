// Sums and maxima over lanes and blocks, in an order that does not depend on timing.
#pragma once

namespace oasis::cuda {

// Over groups of `Width` neighbouring lanes; every lane receives the same bits.
template <int Width = 32, class T>
__device__ inline T warp_sum(T x) {
#pragma unroll
  for (int offset = Width / 2; offset > 0; offset /= 2) {
    x += __shfl_xor_sync(0xffffffffu, x, offset);
  }
  return x;
}

// Over a block of `Threads`; every thread receives the same bits. `shared` holds Threads/32 values
// and may be used again only behind another barrier.
template <int Threads, class T>
__device__ inline T block_sum(T x, T* shared) {
  x = warp_sum(x);
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
  __syncthreads();
  T total = shared[0];
#pragma unroll
  for (int i = 1; i < Threads / 32; ++i) total += shared[i];
  return total;
}

}  // namespace oasis::cuda
