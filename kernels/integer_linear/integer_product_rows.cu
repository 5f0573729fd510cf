// Few rows, as when decoding: what counts is that the weight is read once, and early. Warps load
// operands of m16n8k32 products from global memory as these want them: a product of 32 k's may take
// them in any order, if both operands do, so of 64 k's lane l takes [16(l%4), 16(l%4) + 16), which
// are neighbours in memory, the first half for one product and the second for the next.
//
// The eight warps of a block share the columns, and the blocks of 64 k's by turns. Without groups
// their sums are added up at the end. Scaled sums of groups are added up in the groups' order, so
// then they meet in shared memory after each turn.
#include "kernels/cuda/early_launch.cuh"
#include "kernels/integer_linear/integer_epilogue.cuh"
#include "kernels/integer_linear/integer_mma.cuh"

namespace oasis::cuda {
namespace {

constexpr const char* kWhat = "oasis::integer_linear: few rows";
constexpr int kWarps = 8;
constexpr int kThreads = kWarps * 32;
constexpr int kBlockInputs = 64;  // two products, and one group of scales
static_assert(kBlockInputs == kScaleGroup);

template <bool kGroupedValue, bool kPackedValue, int kPiecesValue>
struct Config {
  static constexpr bool kGrouped = kGroupedValue;
  static constexpr bool kPacked = kPackedValue;
  static constexpr int kPieces = kPiecesValue;                     // of 16 rows
  static constexpr int kOctets = kGrouped || kPieces < 4 ? 1 : 2;  // of columns
  static constexpr int kColumns = 8 * kOctets;
  // Blocks of inputs whose weights a warp has under way; with groups, that it does in a turn.
  static constexpr int kAhead = kGrouped ? 4 / kPieces : 4;
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

// A warp's products.
template <class C>
struct Worker {
  const IntegerProduct& p;
  int lane;
  const std::uint8_t* w[C::kOctets];

  __device__ Worker(const IntegerProduct& product, int column)
      : p(product), lane(threadIdx.x % 32) {
#pragma unroll
    for (int j = 0; j < C::kOctets; ++j) {
      const int n = min(column + 8 * j + lane / 4, p.N - 1);
      w[j] = static_cast<const std::uint8_t*>(p.w) + static_cast<long long>(n) * p.w_stride;
    }
  }

  // Rows beyond the last repeat it.
  __device__ const std::int8_t* row(int m) const {
    return p.x + static_cast<long long>(min(m, p.M - 1)) * p.x_stride;
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

  // use(i, sums) with the sums up to each of kCount blocks of inputs, `step` blocks apart. kEnd:
  // they may reach beyond K.
  template <int kCount, bool kEnd, class Use>
  __device__ void advance(typename C::Sums& sums, int first, int step, const Use& use) const {
    decltype(load_weights<C, kEnd>(w[0], 0, 0)) raw[kCount][C::kOctets];
    const int lane_k = lane % 4 * 16;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
#pragma unroll
      for (int j = 0; j < C::kOctets; ++j) {
        raw[i][j] = load_weights<C, kEnd>(w[j], (first + i * step) * kBlockInputs + lane_k, p.K);
      }
    }
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      uint4 b[C::kOctets];
#pragma unroll
      for (int j = 0; j < C::kOctets; ++j) b[j] = expanded(raw[i][j]);
      multiply<kEnd>(sums, b, (first + i * step) * kBlockInputs + lane_k);
      use(i, sums);
    }
  }
};

template <class C>
__device__ int sum_of(int sum) {
  return C::kPacked ? sum >> kNibbleShift : sum;
}

// Sums of 16 rows by kColumns columns as they lie in shared memory, and a lane's place in them.
template <class C>
struct SumTile {
  int values[16 * C::kPieces][C::kColumns + 2];

  __device__ void store(const typename C::Sums& sums) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < C::kPieces; ++i) {
#pragma unroll
      for (int j = 0; j < C::kOctets; ++j) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          *reinterpret_cast<int2*>(&values[16 * i + 8 * half + lane / 4][8 * j + lane % 4 * 2]) = {
              sum_of<C>(sums[i][j][2 * half]), sum_of<C>(sums[i][j][2 * half + 1])};
        }
      }
    }
  }
};

// Pairs of outputs that a thread finishes.
template <class C>
struct Pairs {
  static constexpr int kInRow = C::kColumns / 2;
  static constexpr int kAll = 16 * C::kPieces * kInRow;
  static constexpr int kMine = (kAll + kThreads - 1) / kThreads;

  __device__ static int row(int i) { return (threadIdx.x + i * kThreads) / kInRow; }
  __device__ static int column() { return threadIdx.x % kInRow * 2; }
};

template <class C, class T>
__global__ void __launch_bounds__(kThreads) few_rows_kernel(IntegerProduct p) {
  let_later_kernels_start();
  wait_for_earlier_kernels();
  constexpr int kTiles = C::kGrouped ? kWarps * C::kAhead : kWarps;
  __shared__ SumTile<C> tiles[kTiles];
  const int warp = threadIdx.x / 32;
  const int first = blockIdx.x * C::kColumns;
  const int blocks = (p.K + kBlockInputs - 1) / kBlockInputs;
  const int whole = p.K / kBlockInputs;
  const Worker<C> worker(p, first);
  using P = Pairs<C>;
  const int n = first + P::column();
  const ColumnPair columns = column_pair(p, n);
  const auto finish = [&](int i, auto left, auto right) {
    const int m = P::row(i);
    const float scale = row_scale(p, m);
    store_pair<T>(p, m, n, output_of(left, scale, columns, 0), output_of(right, scale, columns, 1));
  };

  if constexpr (C::kGrouped) {
    float totals[P::kMine][2] = {};
    for (int turn = 0; turn < blocks; turn += kTiles) {
      // Warp w has the turn's groups w, w + kWarps, …
      typename C::Sums sums = {};
      const auto keep = [&](int i, typename C::Sums& group_sums) {
        tiles[i * kWarps + warp].store(group_sums);
        for (auto& rows : group_sums) rows[0][0] = rows[0][1] = rows[0][2] = rows[0][3] = 0;
      };
      if (turn + kTiles <= whole) {
        worker.template advance<C::kAhead, false>(sums, turn + warp, kWarps, keep);
      } else {
        worker.template advance<C::kAhead, true>(sums, turn + warp, kWarps, keep);
      }
      __syncthreads();
      if (P::row(0) < 16 * C::kPieces) {
        const int groups = min(kTiles, blocks - turn);
#pragma unroll 8
        for (int g = 0; g < groups; ++g) {
          float scale[2];
          int shift[2] = {};
#pragma unroll
          for (int c = 0; c < 2; ++c) {
            const long long at = static_cast<long long>(turn + g) * p.N + min(n + c, p.N - 1);
            scale[c] = __ldg(p.w_scale + at);
            if (p.zero != 0) shift[c] = p.zero * __ldg(p.sums + at);
          }
#pragma unroll
          for (int i = 0; i < P::kMine; ++i) {
#pragma unroll
            for (int c = 0; c < 2; ++c) {
              const int sum = tiles[g].values[P::row(i)][P::column() + c] - shift[c];
              totals[i][c] = __fmaf_rn(__int2float_rn(sum), scale[c], totals[i][c]);
            }
          }
        }
      }
      __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < P::kMine; ++i) {
      if (P::row(i) < 16 * C::kPieces) finish(i, totals[i][0], totals[i][1]);
    }
  } else {
    typename C::Sums sums = {};
    const auto nothing = [](int, const typename C::Sums&) {};
    int block = warp;
    for (; block + (C::kAhead - 1) * kWarps < whole; block += C::kAhead * kWarps) {
      worker.template advance<C::kAhead, false>(sums, block, kWarps, nothing);
    }
    for (; block < blocks; block += kWarps) {
      worker.template advance<1, true>(sums, block, kWarps, nothing);
    }
    tiles[warp].store(sums);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < P::kMine; ++i) {
      if (P::row(i) >= 16 * C::kPieces) continue;
      int total[2] = {};
#pragma unroll
      for (int w = 0; w < kWarps; ++w) {
        total[0] += tiles[w].values[P::row(i)][P::column()];
        total[1] += tiles[w].values[P::row(i)][P::column() + 1];
      }
      finish(i, total[0], total[1]);
    }
  }
}

template <class T, bool kGrouped, bool kPacked, int kPieces>
void launch(const IntegerProduct& p) {
  using C = Config<kGrouped, kPacked, kPieces>;
  const int blocks = (p.N + C::kColumns - 1) / C::kColumns;
  launch_early(few_rows_kernel<C, T>, {.grid = dim3(blocks), .block = dim3(kThreads)}, p.stream,
               kWhat, p);
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
}

}  // namespace oasis::cuda
