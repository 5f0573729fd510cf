// Forward: one pass over the keys for the rows' thresholds, further ones for rows whose threshold
// is not exact yet, and a last one for the context and the moment, which multiplies values only
// where a 16×16 piece of weights is not all zero.
#include "kernels/attention/sparse_threshold.cuh"
#include "kernels/cuda/launch.h"

namespace oasis::cuda {
namespace {

constexpr int kStages = 3;
// Of the sum of a row's weights before the last step of Newton's method, which leaves an error like
// the square of that: 2e-3 would be lost in the rounding of the weights by itself.
constexpr float kLastError = 2e-3f;
constexpr int kProductStages = 2;  // of the passes over keys alone

struct Arguments {
  SparseAttention problem;
  HeadTensor context;
  Weights weights;
};

template <SparseNormalizer kNormalizer, class G>
using RowCandidates = Candidates<kNormalizer, 2 * G::kPieces, G::kThreads>;

template <SparseNormalizer kNormalizer, class G>
constexpr int memory_size() {
  const int lists = is_clipped<kNormalizer>() ? 0 : RowCandidates<kNormalizer, G>::kBytes;
  return std::max(kProductStages * G::kTileBytes + std::max(G::kBlockBytes, lists),
                  2 * kStages * G::kTileBytes);
}

// log Σ e^{s} of a lane's rows in pieces, each lane over its own columns.
template <int kRows>
struct LogSum {
  float shift[kRows];
  float sum[kRows];

  __device__ LogSum() {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      shift[r] = -INFINITY;
      sum[r] = 0;
    }
  }

  // Returns whether any may have a weight, by the sums so far.
  __device__ bool add(const float (&products)[kRows / 2][4][4], const Weights& weights) {
    const float unit = weights.unit;
    bool above = false;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      float largest_here = products[r / 2][0][r % 2 * 2];
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        largest_here = max_or_nan(largest_here, products[r / 2][n][r % 2 * 2]);
        largest_here = max_or_nan(largest_here, products[r / 2][n][r % 2 * 2 + 1]);
      }
      const float largest = max_or_nan(shift[r], largest_here);
      const float base = largest == -INFINITY ? 0.0f : largest;
      float total = sum[r] * exp2_fast((shift[r] - base) * unit);
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        total += exp2_fast((products[r / 2][n][r % 2 * 2] - base) * unit) +
                 exp2_fast((products[r / 2][n][r % 2 * 2 + 1] - base) * unit);
      }
      shift[r] = largest;
      sum[r] = total;
      const float bound =
          smallest_product<SparseNormalizer::kClippedSoftmax>(weights, base, __log2f(total));
      above = above || !(largest_here <= bound);  // NaN is above
    }
    return above;
  }

  // Over the four lanes that share a row.
  __device__ void add_up(float unit) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      float largest = max_or_nan(shift[r], __shfl_xor_sync(kFullWarp, shift[r], 1));
      largest = max_or_nan(largest, __shfl_xor_sync(kFullWarp, largest, 2));
      float total = sum[r] * exp2_fast((shift[r] - largest) * unit);
      total += __shfl_xor_sync(kFullWarp, total, 1);
      total += __shfl_xor_sync(kFullWarp, total, 2);
      shift[r] = largest;
      sum[r] = total;
    }
  }
};

template <class T, int kHeadSize, SparseNormalizer kNormalizer>
__global__ void __launch_bounds__(Geometry<kHeadSize, 1>::kThreads,
                                  Geometry<kHeadSize, 1>::kBlocksPerProcessor)
    forward_kernel(const __grid_constant__ Arguments arguments) {
  using G = Geometry<kHeadSize, 1>;
  constexpr int kRows = 2;  // of a lane: lane/4 and eight below
  extern __shared__ __align__(1024) std::uint8_t memory[];
  const auto& problem = arguments.problem;
  const auto& weights = arguments.weights;
  const int length = problem.length;
  const int head_size = problem.head_size;
  const int lane = threadIdx.x % 32;
  const int batch = blockIdx.z;
  const int head = blockIdx.y;
  const int kv_head = head / (problem.heads / problem.kv_heads);
  const int block_row = (gridDim.x - 1 - blockIdx.x) * kBlockRows;  // the longest rows first
  const int warp_block_row = threadIdx.x / 32 * G::kWarpRows;
  const int warp_row = block_row + warp_block_row;
  const int last_row = warp_row + G::kWarpRows - 1;
  const int tiles = tiles_of(min(block_row + kBlockRows, length));
  const auto k = head_of<const T>(problem.k, batch, kv_head);
  const auto v = head_of<const T>(problem.v, batch, kv_head);
  const LaneOffsets<kHeadSize> lanes(lane);
  const std::uint32_t base = shared_address(memory);

  // Which warps have, or may have, weights in a tile.
  constexpr int kFlags = memory_size<kNormalizer, G>();
  for (int i = threadIdx.x; i < tiles; i += G::kThreads) memory[kFlags + i] = 0;
  const FlaggedTiles flagged{base + kFlags, tiles, 1u << threadIdx.x / 32};

  // Rows beyond the length are zero and compute something finite that is not stored.
  const std::uint32_t query_block = base + kProductStages * G::kTileBytes;
  load_rows<G, kBlockRows>(query_block, head_of<const T>(problem.q, batch, head), block_row, length,
                           head_size);
  commit_copies();
  wait_for_copies<0>();
  __syncthreads();
  typename G::Fragments q;
  load_fragments<G>(q, query_block, warp_block_row, lanes);
  __syncthreads();

  const auto hide_later_keys = [&](auto& products, int key) {
    constexpr int kColumns = 8 * sizeof(products) / sizeof(products[0]);
    if (key + kColumns - 1 <= warp_row) return;
    hide_products(products, warp_row, key, [](int query, int k) { return k > query; });
  };

  // One pass over keys, 32 at a time: visit(products, whether a tile begins). If over every tile,
  // the tiles are flagged for which the warp's visits return true.
  const auto visit_products = [&](const auto& which, const auto& visit, const auto& synchronize) {
    stream_tiles<kProductStages>(
        tiles, which,
        [&](int tile, int stage) {
          load_rows<G, kTileRows>(base + stage * G::kTileBytes, k, tile * kTileRows, length,
                                  head_size);
        },
        [&](int tile, int stage) {
          bool flag = false;
#pragma unroll 1
          for (int part = 0; part < kTileRows; part += 32) {
            const int key = tile * kTileRows + part;
            if (key > last_row) break;
            typename G::template Products<4> products;
            multiply_rows<T, G, 2>(products, q, base + stage * G::kTileBytes, part, lanes);
            hide_later_keys(products[0], key);
            flag = visit(products, part == 0) || flag;
          }
          if (std::is_same_v<decltype(which), const EveryTile&> && __any_sync(kFullWarp, flag) &&
              lane == 0) {
            flagged.set(tile);
          }
        },
        synchronize);
  };

  float shift[kRows];
  float threshold[kRows];
  if constexpr (is_clipped<kNormalizer>()) {
    LogSum<kRows> sums;
    visit_products(
        EveryTile{}, [&](const auto& products, bool) { return sums.add(products, weights); },
        Barrier{});
    sums.add_up(weights.unit);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      shift[r] = sums.shift[r];
      threshold[r] = log2f(sums.sum[r]);
    }
  } else {
    RowCandidates<kNormalizer, G> candidates(base + kProductStages * G::kTileBytes, weights);
    // Lists fill up alike: all warps empty theirs at once, instead of waiting for one another.
    visit_products(
        EveryTile{},
        [&](const auto& products, bool tile_begins) {
          return candidates.add(products, tile_begins);
        },
        [&] {
          if (__syncthreads_or(candidates.nearly_full())) candidates.make_room();
        });
    bool exact[kRows];
    bool done = candidates.solve(exact);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      shift[r] = candidates.shift[r];
      threshold[r] = candidates.threshold[r];
    }
    for (int i = 0; i < kMostNewtonSteps && __syncthreads_or(!done); ++i) {
      RootSums<kNormalizer> sums[kRows];
      visit_products(
          flagged,
          [&](const auto& products, bool) {
#pragma unroll
            for (int r = 0; r < kRows; ++r) {
#pragma unroll
              for (int n = 0; n < 8; ++n) {
                sums[r].add(
                    distance(weights, products[0][n / 2][r * 2 + n % 2], shift[r], threshold[r]));
              }
            }
            return false;
          },
          Barrier{});
      done = true;
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        sums[r].add_up();
        if (exact[r]) continue;
        exact[r] = fabsf(sums[r].mass - 1) <= kLastError;
        threshold[r] = sums[r].step(threshold[r]);
        done = done && exact[r];
      }
    }
  }

  float bound[kRows];
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    bound[r] = smallest_product<kNormalizer>(weights, shift[r], threshold[r]);
    const int row = warp_row + 8 * r + lane / 4;
    if (lane % 4 == 0 && row < length) {
      problem.statistics[(static_cast<long long>(batch) * problem.heads + head) * length + row] = {
          shift[r], threshold[r]};
    }
  }

  typename G::Sums context;
  typename G::Sums moment;
  float weight_sum[kRows];
  clear(context);
  clear(moment);
  clear(weight_sum);
  constexpr int kPairBytes = 2 * G::kTileBytes;
  stream_tiles<kStages>(
      tiles, flagged,
      [&](int tile, int stage) {
        const std::uint32_t pair = base + stage * kPairBytes;
        load_rows<G, kTileRows>(pair, k, tile * kTileRows, length, head_size);
        load_rows<G, kTileRows>(pair + G::kTileBytes, v, tile * kTileRows, length, head_size);
      },
      [&](int tile, int stage) {
        const std::uint32_t keys = base + stage * kPairBytes;
        const std::uint32_t values = keys + G::kTileBytes;
        bool any = false;
#pragma unroll
        for (int part = 0; part < kTileRows; part += 16) {
          const int key = tile * kTileRows + part;
          if (key > last_row) break;
          typename G::template Products<2> products;
          multiply_rows<T, G, 1>(products, q, keys, part, lanes);
          hide_later_keys(products[0], key);
          if (!any_above(products[0], [&](int, int i) { return bound[i / 2]; })) continue;
          any = true;
          float p[2][4];
          float w[2][4];
#pragma unroll
          for (int n = 0; n < 2; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              const auto weight = weight_at<kNormalizer>(
                  weights, distance(weights, products[0][n][i], shift[i / 2], threshold[i / 2]));
              p[n][i] = weight.p;
              w[n][i] = weight.w;
              weight_sum[i / 2] += weight.w;
            }
          }
          typename G::Packed p_packed;
          typename G::Packed w_packed;
          pack_piece<T>(p_packed[0], p[0], p[1]);
          pack_piece<T>(w_packed[0], w[0], w[1]);
#pragma unroll
          for (int step = 0; step < G::kSteps; ++step) {
            std::uint32_t columns[4];
            load_matrices_transposed(columns, lanes.at(values, lanes.by_row, part, step));
            multiply_add<T>(context[0][2 * step], p_packed[0], columns[0], columns[1]);
            multiply_add<T>(context[0][2 * step + 1], p_packed[0], columns[2], columns[3]);
            multiply_add<T>(moment[0][2 * step], w_packed[0], columns[0], columns[1]);
            multiply_add<T>(moment[0][2 * step + 1], w_packed[0], columns[2], columns[3]);
          }
        }
        if (!any && lane == 0) flagged.clear(tile);
      });

  if constexpr (!is_clipped<kNormalizer>()) {
    std::uint8_t* target = block_flags(problem, batch, head, block_row / kBlockRows);
    for (int i = threadIdx.x; i < tiles; i += G::kThreads) target[i] = memory[kFlags + i];
  }

#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    weight_sum[r] += __shfl_xor_sync(kFullWarp, weight_sum[r], 1);
    weight_sum[r] += __shfl_xor_sync(kFullWarp, weight_sum[r], 2);
  }
  const auto moment_factor = [&](int, int half) {
    return is_clipped<kNormalizer>() ? 1.0f : 1 / weight_sum[half];
  };
  std::uint8_t* buffer = memory + warp_block_row * G::kRowBytes;
  store_rows<T, G>(
      context, [](int, int) { return 1.0f; }, buffer, head_of<T>(arguments.context, batch, head),
      warp_row, length, head_size);
  store_rows<T, G>(moment, moment_factor, buffer, head_of<T>(problem.moment, batch, head), warp_row,
                   length, head_size);
}

}  // namespace

void sparse_attention_forward(const SparseAttention& problem, const HeadTensor& context,
                              cudaStream_t stream) {
  const Arguments arguments{problem, context, make_weights(problem)};
  with_instantiation(problem, [&](auto type, auto size, auto normalizer) {
    using G = Geometry<size(), 1>;
    const auto kernel = forward_kernel<decltype(type), size(), normalizer()>;
    constexpr int kTileMemory = memory_size<normalizer(), G>();
    static_assert(kTileMemory + kMostFlags <= kMostSharedMemory);
    const int memory = kTileMemory + (tiles_of(problem.length) + 3) / 4 * 4;
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, memory),
          "oasis::attention");
    const dim3 grid(blocks_of(problem.length), problem.heads, problem.batch);
    kernel<<<grid, G::kThreads, memory, stream>>>(arguments);
    check_launch("oasis::attention");
  });
}

}  // namespace oasis::cuda
