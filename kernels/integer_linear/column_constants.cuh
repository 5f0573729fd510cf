// The constants of a tile's columns in shared memory: fetched beside the products, because a load
// from global memory in every step of the epilogue would wait for the L2 cache each time.
#pragma once

#include "kernels/cuda/async_copy.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/integer_linear/integer_epilogue.cuh"

namespace oasis::cuda {

// Neighbours in shared memory at a multiple of 8.
template <class T>
__device__ inline void load_two(T (&pair)[2], const T* from) {
  static_assert(sizeof(T) == 4);
  const auto both = *reinterpret_cast<const uint2*>(from);
  pair[0] = reinterpret_cast<const T&>(both.x);
  pair[1] = reinterpret_cast<const T&>(both.y);
}

template <int kColumns>
struct ColumnConstants {
  float scale[kColumns];
  float bias[kColumns];
  int sum[kColumns];

  // Starts copies of columns from `first` on by the threads of a warpgroup; zeros beyond the last.
  __device__ void fetch(const IntegerProduct& p, int first, int thread, int threads) {
    for (int i = thread; i < kColumns; i += threads) {
      const int n = first + i;
      const bool valid = n < p.N;
      const auto copy = [&](void* to, const void* from, bool wanted) {
        copy_async<4>(shared_address(to), wanted ? from : p.x_scale, wanted);
      };
      copy(scale + i, p.w_scale + (p.w_by_column ? n : 0), valid && !p.grouped);
      copy(bias + i, p.bias + n, valid && p.bias != nullptr);
      copy(sum + i, p.sums + n, valid && !p.grouped && p.zero != 0);
    }
  }

  // Of the tile's columns [i, i + 2), i even.
  __device__ ColumnPair pair(int i, int zero) const {
    ColumnPair c;
    load_two(c.scale, scale + i);
    load_two(c.bias, bias + i);
    load_two(c.shift, sum + i);
    c.shift[0] *= zero;
    c.shift[1] *= zero;
    return c;
  }
};

// Those of one group of scales.
template <int kColumns>
struct GroupConstants {
  float scale[kColumns];
  int sum[kColumns];

  __device__ void fetch(const IntegerProduct& p, int group, int first, int thread, int threads) {
    for (int i = thread; i < kColumns; i += threads) {
      const bool valid = first + i < p.N && group * kScaleGroup < p.K;
      const long long at = static_cast<long long>(group) * p.N + first + i;
      copy_async<4>(shared_address(scale + i), valid ? p.w_scale + at : p.w_scale, valid);
      const bool summed = valid && p.zero != 0;
      copy_async<4>(shared_address(sum + i), summed ? p.sums + at : p.sums, summed);
    }
  }

  // totals [4j + c] += the group's sums, scaled, distributed as those of a warp's products.
  template <int kSums>
  __device__ void add(float (&totals)[kSums], const int (&sums)[kSums], int zero) const {
#pragma unroll
    for (int j = 0; j < kSums / 4; ++j) {
      const int i = j * 8 + threadIdx.x % 4 * 2;
      float scales[2];
      int shifts[2];
      load_two(scales, scale + i);
      load_two(shifts, sum + i);
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        const float group_sum = __int2float_rn(sums[4 * j + c] - zero * shifts[c % 2]);
        totals[4 * j + c] = __fmaf_rn(group_sum, scales[c % 2], totals[4 * j + c]);
      }
    }
  }
};

// Waits for the other threads of warpgroup 0 or 1.
__device__ inline void meet_group(int group) {
  if (group == 0) {
    asm volatile("bar.sync 1, 128;" ::: "memory");
  } else {
    asm volatile("bar.sync 2, 128;" ::: "memory");
  }
}

}  // namespace oasis::cuda
