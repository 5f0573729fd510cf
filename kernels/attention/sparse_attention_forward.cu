// Forward: a first pass over the keys finds the rows' thresholds nearly, further ones take sums
// exactly and step towards them (mostly one, two where rows have few weights), and a last one
// computes the context and the moment. All meet every tile that may have weights, as it is: tiles
// are multiplied by warpgroups as wholes.
#include "kernels/attention/sparse_threshold.cuh"
#include "kernels/cuda/launch.h"

namespace oasis::cuda {
namespace {

constexpr int kStages = 3;
constexpr int kProductStages = 4;  // of the passes over keys alone

// The last pass may meet sums of weights off by so much: it corrects the context to first order.
constexpr float kLastError = 0.03f;
constexpr int kMostPasses = 32;
constexpr int kMostLastPasses = 4;

struct Arguments {
  SparseAttention problem;
  HeadTensor context;
  Weights weights;
  CUtensorMap q, k, v;
};

template <class G>
using KeyStream = TileStream<G, kProductStages, G::kTileBytes>;
template <class G>
using PairStream = TileStream<G, kStages, 2 * G::kTileBytes>;

template <class G>
constexpr int kTilesEnd = G::kBlockBytes + std::max(kProductStages, 2 * kStages) * G::kTileBytes;
template <class G>
constexpr int memory_size() {
  return kTilesEnd<G> + (1 + KeyStream<G>::kBarriers + PairStream<G>::kBarriers) * kBarrierBytes;
}

// The first tile, which every row sees, then from the diagonal down: most of the large products
// come early.
struct LikelyFirst {
  int tiles;

  __device__ int next(int tile) const {
    if (tile < 0) return 0;
    const int following = tile == 0 ? tiles - 1 : tile - 1;
    return following == 0 ? tiles : following;
  }
  __device__ bool skips(int) const { return false; }
};

// log Σ e^{s} of a lane's two rows, each lane over its own columns.
struct LogSum {
  float largest[2] = {-INFINITY, -INFINITY};
  float sum[2] = {0, 0};

  // Returns whether any may have a weight, by the sums so far.
  __device__ bool add(const Products& products, const Weights& weights) {
    const float unit = weights.unit;
    bool above = false;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float here = products[0][2 * r];
#pragma unroll
      for (int n = 0; n < kTileColumns; ++n) {
        here = max_or_nan(here, products[n][2 * r]);
        here = max_or_nan(here, products[n][2 * r + 1]);
      }
      const float before = largest[r];
      largest[r] = max_or_nan(before, here);
      const float base = largest[r] == -INFINITY ? 0.0f : largest[r];
      float total = sum[r] * exp2_fast((before - base) * unit);
      const float shift = -base * unit;
#pragma unroll
      for (int n = 0; n < kTileColumns; ++n) {
        total += exp2_fast(fmaf(products[n][2 * r], unit, shift)) +
                 exp2_fast(fmaf(products[n][2 * r + 1], unit, shift));
      }
      sum[r] = total;
      const float e = fmaf(here - base, unit, -__log2f(total));
      above = above || !(e <= weights.smallest - 1e-4f);  // NaN is above
    }
    return above;
  }

  // Over the four lanes that share a row.
  __device__ void add_up(float unit) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float all = max_or_nan(largest[r], __shfl_xor_sync(kFullWarp, largest[r], 1));
      all = max_or_nan(all, __shfl_xor_sync(kFullWarp, all, 2));
      float total = sum[r] * exp2_fast((largest[r] - all) * unit);
      total += __shfl_xor_sync(kFullWarp, total, 1);
      total += __shfl_xor_sync(kFullWarp, total, 2);
      largest[r] = all;
      sum[r] = total;
    }
  }
};

template <class T, int kHeadSize, SparseNormalizer kNormalizer>
__global__ void __launch_bounds__(Geometry<kHeadSize>::kThreads,
                                  Geometry<kHeadSize>::kBlocksPerProcessor)
    forward_kernel(const __grid_constant__ Arguments arguments) {
  using G = Geometry<kHeadSize>;
  constexpr int kRows = 2;  // of a lane: lane/4 and eight below
  constexpr bool kClipped = is_clipped<kNormalizer>();
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
  const int warp_block_row = threadIdx.x / 32 * kWarpRows;
  const int warp_row = block_row + warp_block_row;
  const int group = threadIdx.x / kGroupThreads;
  const int last_row = block_row + group * kTileRows + kTileRows - 1;  // of the warpgroup
  const int tiles = tiles_of(min(block_row + kBlockRows, length));
  const auto q_rows = tiles_of_head<T>(arguments.q, problem.q, problem, batch, head);
  const auto k_rows = tiles_of_head<T>(arguments.k, problem.k, problem, batch, kv_head);
  const auto v_rows = tiles_of_head<T>(arguments.v, problem.v, problem, batch, kv_head);
  const LaneOffsets<kHeadSize> lanes(lane);
  const std::uint32_t query_block = shared_address(memory);
  const std::uint32_t base = query_block + G::kBlockBytes;
  const std::uint32_t barriers = query_block + kTilesEnd<G>;
  KeyStream<G> key_stream(barriers + kBarrierBytes);
  PairStream<G> pair_stream(barriers + (1 + KeyStream<G>::kBarriers) * kBarrierBytes);

  // Which warps may have weights in a tile, and which have.
  constexpr int kFlags = memory_size<G>();
  for (int i = threadIdx.x; i < tiles; i += G::kThreads) memory[kFlags + i] = 0;
  const FlaggedTiles flagged{query_block + kFlags, tiles, 0xfu << 4 * group};
  const int weighted_flags = kFlags + (tiles + 3) / 4 * 4;
  for (int i = threadIdx.x; i < tiles; i += G::kThreads) memory[weighted_flags + i] = 0;
  const FlaggedTiles weighted{query_block + weighted_flags, tiles, 0};

  // Rows beyond the length are zero and compute something finite that is not stored.
  init_block(barriers);
  load_block<G::kBlockBytes>(barriers, [&](std::uint32_t barrier) {
    load_rows<G, kBlockRows>(query_block, q_rows, block_row, barrier);
  });
  typename G::Fragments q;
  load_fragments<G>(q, query_block, warp_block_row, lanes);

  const auto hide_later_keys = [&](Products& products, int key) {
    if (key + kTileRows - 1 <= warp_row) return;
    hide_products(products, warp_row, key, [](int query, int k) { return k > query; });
  };

  // One pass over keys: visit(products, tile).
  const auto visit_products = [&](const auto& which, const auto& visit) {
    key_stream.run(
        tiles, which,
        [&](int tile, int stage, std::uint32_t barrier) {
          load_rows<G, kTileRows>(base + stage * G::kTileBytes, k_rows, tile * kTileRows, barrier);
        },
        [&](int tile, int stage) {
          const int key = tile * kTileRows;
          if (key > last_row) return;
          Products products;
          multiply_tile<T, G>(products, q, base + stage * G::kTileBytes, lanes);
          wait_for_products<0>(products);
          hide_later_keys(products, key);
          visit(products, tile);
        });
  };
  const auto flag = [&](bool above, int tile) {
    if (__any_sync(kFullWarp, above) && lane == 0) flagged.set(tile, 1u << threadIdx.x / 32);
  };

  float threshold[kRows];
  if constexpr (kClipped) {
    LogSum sums;
    visit_products(EveryTile{}, [&](const auto& products, int tile) {
      flag(sums.add(products, weights), tile);
    });
    sums.add_up(weights.unit);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      threshold[r] = fmaf(sums.largest[r], weights.unit, log2f(sums.sum[r]));
    }
  } else {
    Thresholds<kNormalizer> thresholds(weights, length);
    visit_products(LikelyFirst{tiles},
                   [&](const auto& products, int tile) { flag(thresholds.add(products), tile); });
    thresholds.finish();
    for (int i = 0; i < kMostPasses; ++i) {
      thresholds.clear();
      visit_products(flagged, [&](const auto& products, int) { thresholds.add_exactly(products); });
      if (!__syncthreads_or(!thresholds.step())) break;
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) threshold[r] = thresholds.threshold[r];
  }

  typename G::Sums context;
  typename G::Sums moment;
  float mass[kRows];
  float weight_sum[kRows];
  float rise[kRows] = {0, 0};
  const unsigned not_a_number = isnan(threshold[0]) || isnan(threshold[1]);
  constexpr int kPairBytes = 2 * G::kTileBytes;
  for (int pass = 0; pass < kMostLastPasses; ++pass) {
    clear(context);
    clear(moment);
    clear(mass);
    clear(weight_sum);
    pair_stream.run(
        tiles, flagged,
        [&](int tile, int stage, std::uint32_t barrier) {
          const std::uint32_t pair = base + stage * kPairBytes;
          load_rows<G, kTileRows>(pair, k_rows, tile * kTileRows, barrier);
          load_rows<G, kTileRows>(pair + G::kTileBytes, v_rows, tile * kTileRows, barrier);
        },
        [&](int tile, int stage) {
          const std::uint32_t keys = base + stage * kPairBytes;
          const std::uint32_t values = keys + G::kTileBytes;
          const int key = tile * kTileRows;
          if (key > last_row) return;
          Products products;
          multiply_tile<T, G>(products, query_block + group * G::kTileBytes, keys, lanes);
          wait_for_products<0>(products);
          hide_later_keys(products, key);
          unsigned any = not_a_number;
#pragma unroll
          for (int part = 0; part < 4; ++part) {
            float p[2][4];
            float w[2][4];
#pragma unroll
            for (int n = 0; n < 2; ++n) {
#pragma unroll
              for (int i = 0; i < 4; ++i) {
                const float product = products[2 * part + n][i];
                const auto weight = weight_of<kNormalizer>(weights, product, threshold[i / 2]);
                p[n][i] = weight.p;
                w[n][i] = weight.w;
                if constexpr (!kClipped) {
                  mass[i / 2] += weight.p;
                  weight_sum[i / 2] += weight.w;
                }
              }
            }
            std::uint32_t p_packed[4];
            std::uint32_t w_packed[4];
            pack_piece<T>(p_packed, p[0], p[1]);
            pack_piece<T>(w_packed, w[0], w[1]);
#pragma unroll
            for (int i = 0; i < 4; ++i) any |= w_packed[i];
            begin_products();
            accumulate<T, G>(context, p_packed, values, part, lanes);
            accumulate<T, G>(moment, w_packed, values, part, lanes);
            end_products();
          }
          wait_for_products<0>(context, moment);
          if constexpr (!kClipped) {
            if (__any_sync(kFullWarp, any != 0) && lane == 0)
              weighted.set(tile, 1u << threadIdx.x / 32);
          }
        });
    if constexpr (kClipped) break;
    bool done = true;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      mass[r] += __shfl_xor_sync(kFullWarp, mass[r], 1);
      mass[r] += __shfl_xor_sync(kFullWarp, mass[r], 2);
      weight_sum[r] += __shfl_xor_sync(kFullWarp, weight_sum[r], 1);
      weight_sum[r] += __shfl_xor_sync(kFullWarp, weight_sum[r], 2);
      rise[r] = newton_step<kNormalizer>(mass[r], weight_sum[r]);
      threshold[r] += rise[r];
      done = done && (fabsf(mass[r] - 1) <= kLastError || isnan(threshold[r]));
    }
    if (!__syncthreads_or(!done)) break;
  }

#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const int row = warp_row + 8 * r + lane / 4;
    if (lane % 4 == 0 && row < length) {
      problem.thresholds[(static_cast<long long>(batch) * problem.heads + head) * length + row] =
          threshold[r];
    }
  }
  if constexpr (!kClipped) {
    std::uint8_t* target = block_flags(problem, batch, head, block_row / kBlockRows);
    for (int i = threadIdx.x; i < tiles; i += G::kThreads) target[i] = memory[weighted_flags + i];
      // Σ p v at the threshold after the last step.
#pragma unroll
    for (int n = 0; n < kHeadSize / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float slope = kNormalizer == SparseNormalizer::kEntmax15 ? -2.0f : -1.0f;
        context[n][i] = fmaf(slope * rise[i / 2], moment[n][i], context[n][i]);
      }
    }
  }
  store_rows<T, G>(
      context, [&](int half) { return isnan(threshold[half]) ? NAN : 1.0f; }, memory,
      head_of<T>(arguments.context, batch, head), block_row, length, head_size);
  store_rows<T, G>(
      moment,
      [&](int half) {
        if constexpr (!kClipped) return 1 / weight_sum[half];
        return isnan(threshold[half]) ? NAN : 1.0f;
      },
      memory, head_of<T>(problem.moment, batch, head), block_row, length, head_size);
}

}  // namespace

void sparse_attention_forward(const SparseAttention& problem, const HeadTensor& context,
                              cudaStream_t stream) {
  const Arguments arguments{problem,
                            context,
                            make_weights(problem),
                            make_tensor_map(problem.q, problem, problem.heads),
                            make_tensor_map(problem.k, problem, problem.kv_heads),
                            make_tensor_map(problem.v, problem, problem.kv_heads)};
  with_instantiation(problem, [&](auto type, auto size, auto normalizer) {
    using G = Geometry<size()>;
    const auto kernel = forward_kernel<decltype(type), size(), normalizer()>;
    constexpr int kTileMemory = memory_size<G>();
    static_assert(kTileMemory + 2 * kMostFlags <= kMostSharedMemory);
    const int memory = kTileMemory + 2 * ((tiles_of(problem.length) + 3) / 4 * 4);
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, memory),
          "oasis::attention");
    const dim3 grid(blocks_of(problem.length), problem.heads, problem.batch);
    kernel<<<grid, G::kThreads, memory, stream>>>(arguments);
    check_launch("oasis::attention");
  });
}

}  // namespace oasis::cuda
