// Few rows, as when decoding: what counts is that the weight is read once, and early. Warps load
// operands of m16n8k32 products from global memory as these want them: a product of 32 k's may take
// them in any order, if both operands do, so of 64 k's lane l takes [16(l%4), 16(l%4) + 16), which
// are neighbours in memory, the first half for one product and the second for the next.
//
// Without groups the four warps of a block share the sum along K. With groups, whose scaled sums
// are added up in order, each has columns of its own.
#include <algorithm>

#include "kernels/cuda/launch.h"
#include "kernels/integer_linear/integer_epilogue.cuh"
#include "kernels/integer_linear/integer_mma.cuh"

namespace oasis::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * 32;
constexpr int kBlockInputs = 64;  // two products, and one group of scales
static_assert(kBlockInputs == kScaleGroup);
constexpr int kAhead = 4;  // blocks of inputs whose weights are under way

template <bool kGroupedValue, bool kPackedValue, int kPiecesValue>
struct Config {
  static constexpr bool kGrouped = kGroupedValue;
  static constexpr bool kPacked = kPackedValue;
  static constexpr int kPieces = kPiecesValue;      // of 16 rows
  static constexpr int kOctets = kGrouped ? 1 : 2;  // of a warp's columns
  static constexpr int kColumns = kOctets * 8 * (kGrouped ? kWarps : 1);
  using Sums = int[kPieces][kOctets][4];
};

// Four codes at k of a row of K, zeros beyond.
__device__ std::uint32_t masked(std::uint32_t codes, int k, int K) {
  const int left = K - k;
  if (left >= 4) return codes;
  return left <= 0 ? 0 : codes & ((1u << 8 * left) - 1);
}

// Sixteen codes at k, a multiple of 16, of a row of x; zeros beyond K where there may be an end.
template <bool kEnd>
__device__ uint4 load_activations(const std::int8_t* row, int k, int K) {
  if (kEnd && k >= K) return {0, 0, 0, 0};
  uint4 codes = __ldg(reinterpret_cast<const uint4*>(row + k));
  if (kEnd && k + 16 > K) {
    codes = {masked(codes.x, k, K), masked(codes.y, k + 4, K), masked(codes.z, k + 8, K),
             masked(codes.w, k + 12, K)};
  }
  return codes;
}

// Sixteen codes of the weight as they lie in memory; what is beyond K meets zeros of x.
template <class C, bool kEnd>
__device__ auto load_weights(const std::uint8_t* row, int k, int K) {
  using Raw = std::conditional_t<C::kPacked, uint2, uint4>;
  if (kEnd && k >= K) return Raw{};
  return __ldg(reinterpret_cast<const Raw*>(row + (C::kPacked ? k / 2 : k)));
}

__device__ uint4 expanded(const uint4& codes) {
  return codes;
}
__device__ uint4 expanded(const uint2& nibbles) {
  uint4 codes;
  expand_nibbles(nibbles.x, codes.x, codes.y);
  expand_nibbles(nibbles.y, codes.z, codes.w);
  return codes;
}

// One warp's work: its columns, or its share of K.
template <class C>
struct Worker {
  const IntegerProduct& p;
  int lane;
  const std::int8_t* x;  // row lane/4
  const std::uint8_t* w[C::kOctets];

  __device__ Worker(const IntegerProduct& product, int column)
      : p(product), lane(threadIdx.x % 32), x(p.x) {
#pragma unroll
    for (int j = 0; j < C::kOctets; ++j) {
      const int n = min(column + 8 * j + lane / 4, p.N - 1);
      w[j] = static_cast<const std::uint8_t*>(p.w) + static_cast<long long>(n) * p.w_stride;
    }
  }

  // Rows beyond the last repeat it.
  __device__ const std::int8_t* row(int m) const {
    return x + static_cast<long long>(min(m, p.M - 1)) * p.x_stride;
  }

  template <bool kEnd>
  __device__ void multiply(typename C::Sums& sums, const uint4 (&b)[C::kOctets], int k) const {
#pragma unroll
    for (int i = 0; i < C::kPieces; ++i) {
      const uint4 above = load_activations<kEnd>(row(16 * i + lane / 4), k, p.K);
      const uint4 below = load_activations<kEnd>(row(16 * i + 8 + lane / 4), k, p.K);
#pragma unroll
      for (int j = 0; j < C::kOctets; ++j) {
        multiply_add(sums[i][j], {above.x, below.x, above.y, below.y}, {b[j].x, b[j].y});
        multiply_add(sums[i][j], {above.z, below.z, above.w, below.w}, {b[j].z, b[j].w});
      }
    }
  }

  // use(block) after each of `kCount` blocks of inputs from `first` on.
  template <int kCount, bool kEnd, class Use>
  __device__ void advance(typename C::Sums& sums, int first, const Use& use) const {
    decltype(load_weights<C, kEnd>(w[0], 0, 0)) raw[kCount][C::kOctets];
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
#pragma unroll
      for (int j = 0; j < C::kOctets; ++j) {
        raw[i][j] = load_weights<C, kEnd>(w[j], (first + i) * kBlockInputs + lane % 4 * 16, p.K);
      }
    }
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      uint4 b[C::kOctets];
#pragma unroll
      for (int j = 0; j < C::kOctets; ++j) b[j] = expanded(raw[i][j]);
      multiply<kEnd>(sums, b, (first + i) * kBlockInputs + lane % 4 * 16);
      use(first + i);
    }
  }

  template <class Use>
  __device__ void run(typename C::Sums& sums, int begin, int end, const Use& use) const {
    const int whole = min(end, p.K / kBlockInputs);
    int block = begin;
    for (; block + kAhead <= whole; block += kAhead) advance<kAhead, false>(sums, block, use);
    for (; block < end; ++block) advance<1, true>(sums, block, use);
  }
};

template <class C, class T>
__global__ void __launch_bounds__(kThreads) few_rows_kernel(IntegerProduct p) {
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const int first = blockIdx.x * C::kColumns;
  const int blocks = (p.K + kBlockInputs - 1) / kBlockInputs;
  typename C::Sums sums = {};
  const auto value = [](int sum) { return C::kPacked ? sum >> kNibbleShift : sum; };

  if constexpr (C::kGrouped) {
    const int column = first + warp * 8;
    if (column >= p.N) return;
    const Worker<C> worker(p, column);
    const int n = column + lane % 4 * 2;
    float totals[C::kPieces][4] = {};
    worker.run(sums, 0, blocks, [&](int group) {
#pragma unroll
      for (int c = 0; c < 4; ++c) {
#pragma unroll
        for (int i = 0; i < C::kPieces; ++i) {
          totals[i][c] = add_group(p, totals[i][c], value(sums[i][0][c]), group, n + c % 2);
          sums[i][0][c] = 0;
        }
      }
    });
    const ColumnPair columns = column_pair(p, n);
#pragma unroll
    for (int i = 0; i < C::kPieces; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int m = 16 * i + 8 * half + lane / 4;
        const float scale = row_scale(p, m);
        store_pair<T>(p, m, n, output_of(totals[i][2 * half], scale, columns, 0),
                      output_of(totals[i][2 * half + 1], scale, columns, 1));
      }
    }
  } else {
    constexpr int kStride = C::kColumns + 2;
    __shared__ int shared[kWarps][16 * C::kPieces][kStride];
    const Worker<C> worker(p, first);
    const int share = (blocks + kWarps - 1) / kWarps;
    worker.run(sums, min(blocks, warp * share), min(blocks, (warp + 1) * share), [](int) {});
#pragma unroll
    for (int i = 0; i < C::kPieces; ++i) {
#pragma unroll
      for (int j = 0; j < C::kOctets; ++j) {
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          shared[warp][16 * i + c / 2 * 8 + lane / 4][j * 8 + lane % 4 * 2 + c % 2] = sums[i][j][c];
        }
      }
    }
    __syncthreads();
    constexpr int kPairs = C::kColumns / 2;
    const int pair = threadIdx.x % kPairs * 2;
    const ColumnPair columns = column_pair(p, first + pair);
    for (int m = threadIdx.x / kPairs; m < min(p.M, 16 * C::kPieces); m += kThreads / kPairs) {
      int total[2] = {};
#pragma unroll
      for (int w = 0; w < kWarps; ++w) {
        total[0] += shared[w][m][pair];
        total[1] += shared[w][m][pair + 1];
      }
      const float scale = row_scale(p, m);
      store_pair<T>(p, m, first + pair, output_of(value(total[0]), scale, columns, 0),
                    output_of(value(total[1]), scale, columns, 1));
    }
  }
}

template <class T, bool kGrouped, bool kPacked, int kPieces>
void launch(const IntegerProduct& p) {
  using C = Config<kGrouped, kPacked, kPieces>;
  const int blocks = (p.N + C::kColumns - 1) / C::kColumns;
  few_rows_kernel<C, T><<<blocks, kThreads, 0, p.stream>>>(p);
}

template <class T, bool kGrouped, bool kPacked>
void launch_rows(const IntegerProduct& p) {
  if (p.M <= 16) return launch<T, kGrouped, kPacked, 1>(p);
  if (p.M <= 32) return launch<T, kGrouped, kPacked, 2>(p);
  launch<T, kGrouped, kPacked, 4>(p);
}

}  // namespace

void few_rows_product(const IntegerProduct& p) {
  with_output_type(p, [&]<class T>(T) {
    if (p.packed) {
      p.grouped ? launch_rows<T, true, true>(p) : launch_rows<T, false, true>(p);
    } else {
      p.grouped ? launch_rows<T, true, false>(p) : launch_rows<T, false, false>(p);
    }
  });
  check_launch("oasis::integer_linear: few rows");
}

}  // namespace oasis::cuda
