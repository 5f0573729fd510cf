// Few rows, as when decoding: a warp reads a row of the weight once and multiplies it by every row
// of x, which stay in the first-level cache.
#include "kernels/cuda/launch.h"
#include "kernels/cuda/reduce.cuh"
#include "kernels/integer_linear/integer_epilogue.cuh"

namespace oasis::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kLaneBytes = 16;
constexpr unsigned kAllLanes = 0xffffffffu;

// Four codes at k of a row of K, zeros beyond.
__device__ std::uint32_t masked(std::uint32_t codes, int k, int K) {
  const int left = K - k;
  if (left >= 4) return codes;
  return left <= 0 ? 0 : codes & ((1u << 8 * left) - 1);
}

// Sixteen codes at k, a multiple of 16; zeros beyond K.
__device__ uint4 load_codes(const std::int8_t* row, int k, int K) {
  if (k >= K) return {0, 0, 0, 0};
  uint4 codes = __ldg(reinterpret_cast<const uint4*>(row + k));
  if (k + 16 > K) {
    codes = {masked(codes.x, k, K), masked(codes.y, k + 4, K), masked(codes.z, k + 8, K),
             masked(codes.w, k + 12, K)};
  }
  return codes;
}

__device__ int dot(const uint4& a, const uint4& b, int sum) {
  sum = __dp4a(static_cast<int>(a.x), static_cast<int>(b.x), sum);
  sum = __dp4a(static_cast<int>(a.y), static_cast<int>(b.y), sum);
  sum = __dp4a(static_cast<int>(a.z), static_cast<int>(b.z), sum);
  return __dp4a(static_cast<int>(a.w), static_cast<int>(b.w), sum);
}

template <class T, int kRows, bool kPacked, bool kGrouped>
__global__ void __launch_bounds__(kWarps * 32) few_rows_kernel(IntegerProduct p) {
  constexpr int kLaneCodes = kPacked ? 2 * kLaneBytes : kLaneBytes;
  constexpr int kGroupLanes = kScaleGroup / kLaneCodes;
  constexpr int kWarpGroups = 32 / kGroupLanes;
  const int lane = threadIdx.x % 32;
  const int n = blockIdx.x * kWarps + threadIdx.x / 32;
  if (n >= p.N) return;
  const auto* w = static_cast<const std::uint8_t*>(p.w) + static_cast<long long>(n) * p.w_stride;
  int sums[kRows] = {};
  float totals[kRows] = {};
#pragma unroll 2
  for (int begin = 0; begin < p.K; begin += 32 * kLaneCodes) {
    const int k = begin + lane * kLaneCodes;
    uint4 weights[kPacked ? 2 : 1] = {};
    if (k < p.K) {
      const uint4 raw =
          __ldg(reinterpret_cast<const uint4*>(w + (begin / kLaneCodes + lane) * kLaneBytes));
      if constexpr (kPacked) {
        expand_nibbles(raw.x, weights[0].x, weights[0].y);
        expand_nibbles(raw.y, weights[0].z, weights[0].w);
        expand_nibbles(raw.z, weights[1].x, weights[1].y);
        expand_nibbles(raw.w, weights[1].z, weights[1].w);
      } else {
        weights[0] = raw;
      }
    }
#pragma unroll
    for (int m = 0; m < kRows; ++m) {
      if (m >= p.M) break;
      const auto* x = p.x + static_cast<long long>(m) * p.x_stride;
      int sum = kGrouped ? 0 : sums[m];
      sum = dot(load_codes(x, k, p.K), weights[0], sum);
      if constexpr (kPacked) sum = dot(load_codes(x, k + 16, p.K), weights[1], sum);
      if constexpr (!kGrouped) {
        sums[m] = sum;
      } else {
#pragma unroll
        for (int offset = 1; offset < kGroupLanes; offset *= 2) {
          sum += __shfl_xor_sync(kAllLanes, sum, offset);
        }
        if constexpr (kPacked) sum >>= kNibbleShift;
#pragma unroll
        for (int i = 0; i < kWarpGroups; ++i) {
          const int group_sum = __shfl_sync(kAllLanes, sum, i * kGroupLanes);
          if (begin + i * kScaleGroup < p.K) {
            totals[m] = add_group(p, totals[m], group_sum, begin / kScaleGroup + i, n);
          }
        }
      }
    }
  }
  const ColumnPair column = column_pair(p, n);
#pragma unroll
  for (int m = 0; m < kRows; ++m) {
    if (m >= p.M) break;
    float out;
    if constexpr (kGrouped) {
      out = output_of(totals[m], row_scale(p, m), column, 0);
    } else {
      int sum = warp_sum(sums[m]);
      if constexpr (kPacked) sum >>= kNibbleShift;
      out = output_of(sum, row_scale(p, m), column, 0);
    }
    if (lane == 0) static_cast<T*>(p.y)[static_cast<long long>(m) * p.N + n] = from_float<T>(out);
  }
}

template <class T, bool kPacked, bool kGrouped>
void launch(const IntegerProduct& p) {
  const int blocks = (p.N + kWarps - 1) / kWarps;
  if (p.M == 1) {
    few_rows_kernel<T, 1, kPacked, kGrouped><<<blocks, kWarps * 32, 0, p.stream>>>(p);
  } else {
    few_rows_kernel<T, kFewRows, kPacked, kGrouped><<<blocks, kWarps * 32, 0, p.stream>>>(p);
  }
}

}  // namespace

void few_rows_product(const IntegerProduct& p) {
  with_output_type(p, [&]<class T>(T) {
    if (p.packed) {
      p.grouped ? launch<T, true, true>(p) : launch<T, true, false>(p);
    } else {
      p.grouped ? launch<T, false, true>(p) : launch<T, false, false>(p);
    }
  });
  check_launch("oasis::integer_linear: few rows");
}

}  // namespace oasis::cuda
