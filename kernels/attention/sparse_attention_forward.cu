// Forward: one pass over the keys for the rows' thresholds, further ones for rows whose threshold
// is not exact yet, and a last one for the context and the moment, which multiplies values only
// where a 16×16 piece of weights is not all zero.
#include "kernels/attention/sparse_threshold.cuh"
#include "kernels/cuda/launch.h"

namespace oasis::cuda {
namespace {

constexpr int kStages = 3;

struct Arguments {
  SparseAttention problem;
  HeadTensor context;
  Weights weights;
};

template <SparseNormalizer kNormalizer, int kHeadSize>
constexpr int memory_size() {
  using G = Geometry<kHeadSize>;
  const int lists = is_clipped<kNormalizer>() ? 0 : Candidates<kNormalizer, kHeadSize>::kBytes;
  return std::max(kStages * G::kTileBytes + std::max(G::kBlockBytes, lists),
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

  __device__ void add(const float (&products)[kRows / 2][4][4], float unit) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      float largest = shift[r];
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        largest = max_or_nan(largest, products[r / 2][n][r % 2 * 2]);
        largest = max_or_nan(largest, products[r / 2][n][r % 2 * 2 + 1]);
      }
      const float base = largest == -INFINITY ? 0.0f : largest;
      float total = sum[r] * exp2_fast((shift[r] - base) * unit);
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        total += exp2_fast((products[r / 2][n][r % 2 * 2] - base) * unit) +
                 exp2_fast((products[r / 2][n][r % 2 * 2 + 1] - base) * unit);
      }
      shift[r] = largest;
      sum[r] = total;
    }
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
__global__ void __launch_bounds__(Geometry<kHeadSize>::kThreads,
                                  Geometry<kHeadSize>::kBlocksPerProcessor)
    forward_kernel(const __grid_constant__ Arguments arguments) {
  using G = Geometry<kHeadSize>;
  constexpr int kPieces = G::kPieces;
  constexpr int kRows = 2 * kPieces;
  extern __shared__ __align__(1024) std::uint8_t memory[];
  const auto& problem = arguments.problem;
  const auto& weights = arguments.weights;
  const int length = problem.length;
  const int lane = threadIdx.x % 32;
  const int batch = blockIdx.z;
  const int head = blockIdx.y;
  const int kv_head = head / (problem.heads / problem.kv_heads);
  // The longest rows first.
  const int block_row = (gridDim.x - 1 - blockIdx.x) * kBlockRows;
  const int warp_block_row = threadIdx.x / 32 * G::kWarpRows;
  const int warp_row = block_row + warp_block_row;
  const int tiles = (min(block_row + kBlockRows, length) + kTileRows - 1) / kTileRows;
  const auto k = head_of<const T>(problem.k, batch, kv_head);
  const auto v = head_of<const T>(problem.v, batch, kv_head);
  const LaneOffsets<kHeadSize> lanes(lane);
  const std::uint32_t base = shared_address(memory);

  // Rows beyond the length are zero and compute something finite that is not stored.
  const std::uint32_t query_block = base + kStages * G::kTileBytes;
  load_rows<kHeadSize, kBlockRows>(query_block, head_of<const T>(problem.q, batch, head), block_row,
                                   length, problem.head_size);
  commit_copies();
  wait_for_copies<0>();
  __syncthreads();
  RowFragments<kHeadSize> q;
  load_fragments<kHeadSize>(q, query_block, warp_block_row, lanes);

  const auto hide_later_keys = [&](auto& products, int key) {
    constexpr int kTiles = sizeof(products[0]) / sizeof(products[0][0]);
    if (key + 8 * kTiles - 1 <= warp_row) return;
#pragma unroll
    for (int piece = 0; piece < kPieces; ++piece) {
#pragma unroll
      for (int n = 0; n < kTiles; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int row = warp_row + 16 * piece + 8 * (i / 2) + lane / 4;
          if (key + 8 * n + 2 * (lane % 4) + i % 2 > row) products[piece][n][i] = -INFINITY;
        }
      }
    }
  };

  // One pass over the keys, 32 at a time.
  const auto visit_products = [&](const auto& visit) {
    stream_tiles<kStages>(
        0, tiles,
        [&](int tile, int stage) {
          load_rows<kHeadSize, kTileRows>(base + stage * G::kTileBytes, k, tile * kTileRows, length,
                                          problem.head_size);
        },
        [&](int tile, int stage) {
#pragma unroll
          for (int part = 0; part < kTileRows; part += 32) {
            const int key = tile * kTileRows + part;
            if (key > warp_row + G::kWarpRows - 1) break;
            float products[kPieces][4][4];
            multiply_rows<T, kHeadSize, 2>(products, q, base + stage * G::kTileBytes, part, lanes);
            hide_later_keys(products, key);
            visit(products);
          }
        });
  };

  float shift[kRows];
  float threshold[kRows];
  float moment_factor[kRows];
  if constexpr (is_clipped<kNormalizer>()) {
    LogSum<kRows> sums;
    visit_products([&](const auto& products) { sums.add(products, weights.unit); });
    sums.add_up(weights.unit);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      shift[r] = sums.shift[r];
      threshold[r] = log2f(sums.sum[r]);
      moment_factor[r] = weights.gain;
    }
  } else {
    Candidates<kNormalizer, kHeadSize> candidates(
        reinterpret_cast<float*>(memory + kStages * G::kTileBytes), weights);
    visit_products([&](const auto& products) { candidates.add(products); });
    bool exact[kRows];
    bool done = candidates.solve(exact);
    float sum[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      shift[r] = candidates.shift[r];
      threshold[r] = candidates.threshold[r];
      sum[r] = candidates.weights[r];
    }
    for (int i = 0; i < kMostNewtonSteps && __syncthreads_or(!done); ++i) {
      RootSums sums[kRows];
      visit_products([&](const auto& products) {
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
#pragma unroll
          for (int n = 0; n < 8; ++n) {
            sums[r].add(distance(weights, products[r / 2][n / 2][r % 2 * 2 + n % 2], shift[r],
                                 threshold[r]));
          }
        }
      });
      done = true;
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        sums[r].add_up();
        if (exact[r]) continue;
        sum[r] = weight_sum<kNormalizer>(sums[r]);
        const float next = newton_step<kNormalizer>(threshold[r], sums[r]);
        exact[r] = !(next > threshold[r]);
        if (!exact[r]) threshold[r] = next;
        done = done && exact[r];
      }
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) moment_factor[r] = 1 / sum[r];
  }

  float bound[kRows];
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    bound[r] = smallest_product<kNormalizer>(weights, shift[r], threshold[r]);
    const int row = warp_row + 16 * (r / 2) + 8 * (r % 2) + lane / 4;
    if (lane % 4 == 0 && row < length) {
      problem.statistics[(static_cast<long long>(batch) * problem.heads + head) * length + row] = {
          shift[r], threshold[r]};
    }
  }

  HeadSums<kHeadSize> context;
  HeadSums<kHeadSize> moment;
  clear(context);
  clear(moment);
  constexpr int kPairBytes = 2 * G::kTileBytes;
  stream_tiles<kStages>(
      0, tiles,
      [&](int tile, int stage) {
        const std::uint32_t pair = base + stage * kPairBytes;
        load_rows<kHeadSize, kTileRows>(pair, k, tile * kTileRows, length, problem.head_size);
        load_rows<kHeadSize, kTileRows>(pair + G::kTileBytes, v, tile * kTileRows, length,
                                        problem.head_size);
      },
      [&](int tile, int stage) {
        const std::uint32_t pair = base + stage * kPairBytes;
#pragma unroll
        for (int part = 0; part < kTileRows; part += 16) {
          const int key = tile * kTileRows + part;
          if (key > warp_row + G::kWarpRows - 1) break;
          float products[kPieces][2][4];
          multiply_rows<T, kHeadSize, 1>(products, q, pair, part, lanes);
          hide_later_keys(products, key);
          bool active[kPieces];
          bool any = false;
#pragma unroll
          for (int piece = 0; piece < kPieces; ++piece) {
            const auto& left = products[piece][0];
            const auto& right = products[piece][1];
            const float upper =
                max_or_nan(max_or_nan(left[0], left[1]), max_or_nan(right[0], right[1]));
            const float lower =
                max_or_nan(max_or_nan(left[2], left[3]), max_or_nan(right[2], right[3]));
            // Written so that NaN is active.
            active[piece] = __any_sync(
                kFullWarp, !(upper <= bound[2 * piece]) || !(lower <= bound[2 * piece + 1]));
            any = any || active[piece];
          }
          if (!any) continue;
          std::uint32_t p[kPieces][4];
          std::uint32_t w[kPieces][4];
#pragma unroll
          for (int piece = 0; piece < kPieces; ++piece) {
            float p_values[2][4];
            float w_values[2][4];
#pragma unroll
            for (int n = 0; n < 2; ++n) {
#pragma unroll
              for (int i = 0; i < 4; ++i) {
                const int r = 2 * piece + i / 2;
                const auto weight = weight_at<kNormalizer>(
                    weights, distance(weights, products[piece][n][i], shift[r], threshold[r]));
                p_values[n][i] = weight.p;
                w_values[n][i] = weight.w;
              }
            }
            pack_piece<T>(p[piece], p_values[0], p_values[1]);
            pack_piece<T>(w[piece], w_values[0], w_values[1]);
          }
#pragma unroll
          for (int step = 0; step < G::kSteps; ++step) {
            std::uint32_t values[4];
            load_matrices_transposed(
                values, lanes.at(pair + G::kTileBytes, lanes.by_row, part, step));
#pragma unroll
            for (int piece = 0; piece < kPieces; ++piece) {
              if (!active[piece]) continue;
              multiply_add<T>(context[piece][2 * step], p[piece], values[0], values[1]);
              multiply_add<T>(context[piece][2 * step + 1], p[piece], values[2], values[3]);
              multiply_add<T>(moment[piece][2 * step], w[piece], values[0], values[1]);
              multiply_add<T>(moment[piece][2 * step + 1], w[piece], values[2], values[3]);
            }
          }
        }
      });

  std::uint8_t* buffer = memory + warp_block_row * G::kRowBytes;
  store_rows<T, kHeadSize>(
      context, [](int, int) { return 1.0f; }, buffer,
      head_of<T>(arguments.context, batch, head), warp_row, length, problem.head_size);
  store_rows<T, kHeadSize>(
      moment, [&](int piece, int half) { return moment_factor[2 * piece + half]; }, buffer,
      head_of<T>(problem.moment, batch, head), warp_row, length, problem.head_size);
}

}  // namespace

void sparse_attention_forward(const SparseAttention& problem, const HeadTensor& context,
                              cudaStream_t stream) {
  const Arguments arguments{problem, context, make_weights(problem)};
  with_instantiation(problem, [&](auto type, auto size, auto normalizer) {
    using T = decltype(type);
    const auto kernel = forward_kernel<T, size(), normalizer()>;
    constexpr int kMemory = memory_size<normalizer(), size()>();
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kMemory),
          "oasis::attention");
    const dim3 grid((problem.length + kBlockRows - 1) / kBlockRows, problem.heads, problem.batch);
    kernel<<<grid, Geometry<size()>::kThreads, kMemory, stream>>>(arguments);
    check_launch("oasis::attention");
  });
}

}  // namespace oasis::cuda
