// Stores the outputs of a warpgroup's products.
#pragma once

#include "kernels/integer_linear/column_constants.cuh"

namespace oasis::cuda {

// Sixteen bytes of eight neighbouring columns, from pairs: lane i of four holds pair i of each of
// four runs of columns, and receives run i.
__device__ inline uint4 gather_runs(std::uint32_t (&pairs)[4]) {
  const int lane = threadIdx.x % 4;
  const auto exchange = [&](std::uint32_t& low, std::uint32_t& high, int bit) {
    const bool upper = (lane & bit) != 0;
    const std::uint32_t other = __shfl_xor_sync(0xffffffffu, upper ? low : high, bit);
    (upper ? low : high) = other;
  };
  exchange(pairs[0], pairs[1], 1);
  exchange(pairs[2], pairs[3], 1);
  exchange(pairs[0], pairs[2], 2);
  exchange(pairs[1], pairs[3], 2);
  return {pairs[0], pairs[1], pairs[2], pairs[3]};
}

// Values [kSums] of a warpgroup's 64 rows from `row` on, as sums are distributed. kWide: rows of y
// begin at multiples of 16 bytes.
template <class T, bool kWide, class Value, int kSums>
__device__ void store_outputs(const IntegerProduct& p, const Value (&values)[kSums],
                              const ColumnConstants<2 * kSums>& columns, int row, int column) {
  const int lane = threadIdx.x % 32;
  const int m = row + threadIdx.x % 128 / 32 * 16 + lane / 4;
  const float scale[2] = {row_scale(p, m), row_scale(p, m + 8)};
  T* const y = static_cast<T*>(p.y) + static_cast<long long>(m) * p.N + column + lane % 4 * 8;
  const int left[2] = {m < p.M ? p.N - column - lane % 4 * 8 : 0,
                       m + 8 < p.M ? p.N - column - lane % 4 * 8 : 0};  // columns to write
#pragma unroll
  for (int run = 0; run < kSums / 4; run += 4) {
    float out[2][4][2];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const ColumnPair pair = columns.pair((run + j) * 8 + lane % 4 * 2, p.zero);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        out[i / 2][j][i % 2] = output_of(values[(run + j) * 4 + i], scale[i / 2], pair, i % 2);
      }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if constexpr (kWide) {
        std::uint32_t pairs[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) pairs[j] = pack<T>(out[half][j][0], out[half][j][1]);
        const uint4 eight = gather_runs(pairs);
        if (run * 8 < left[half]) {
          *reinterpret_cast<uint4*>(y + static_cast<long long>(8 * half) * p.N + run * 8) = eight;
        }
      } else {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          store_pair<T>(p, m + 8 * half, column + (run + j) * 8 + lane % 4 * 2, out[half][j][0],
                        out[half][j][1]);
        }
      }
    }
  }
}

template <class T, class Value, int kSums>
__device__ void store_outputs(const IntegerProduct& p, const Value (&values)[kSums],
                              const ColumnConstants<2 * kSums>& columns, int row, int column) {
  if constexpr (sizeof(T) == 2) {
    if (p.N % 8 == 0) return store_outputs<T, true>(p, values, columns, row, column);
  }
  store_outputs<T, false>(p, values, columns, row, column);
}

}  // namespace oasis::cuda
