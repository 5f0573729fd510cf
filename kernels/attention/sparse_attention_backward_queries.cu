// dQ: queries in registers, keys and values streamed.
#include "kernels/attention/sparse_attention_backward.cuh"
#include "kernels/cuda/launch.h"

namespace oasis::cuda {
namespace {

constexpr int kStages = 3;

template <int kHeadSize>
using RowGeometry = Geometry<kHeadSize, 1>;

template <class G>
constexpr int memory_size() {
  return kBlockRows * static_cast<int>(sizeof(float4)) +
         std::max(2 * G::kBlockBytes, 2 * kStages * G::kTileBytes);
}

// r = dO·moment of the block's rows, beside their statistics. Rows beyond the length are zeros.
template <class T, class G, SparseNormalizer kNormalizer>
__device__ void make_rows(float4* rows, const std::uint8_t* grad_block,
                          const BackwardArguments& arguments, int batch, int head, int block_row) {
  constexpr int kChunks = G::kHeadSize / 8;
  constexpr int kStep = G::kThreads / kChunks;
  const auto& problem = arguments.problem;
  const auto moment = head_of<const T>(problem.moment, batch, head);
  const long long first =
      (static_cast<long long>(batch) * problem.heads + head) * problem.length + block_row;
  const int chunk = threadIdx.x % kChunks;
  for (int row = threadIdx.x / kChunks; row < kBlockRows; row += kStep) {
    const bool valid = block_row + row < problem.length;
    float product = 0;
    if (valid && chunk * 8 < problem.head_size) {
      const auto m = *reinterpret_cast<const uint4*>(moment.row(block_row + row) + chunk * 8);
      const auto g =
          *reinterpret_cast<const uint4*>(grad_block + tile_offset<G::kHeadSize>(row, chunk));
      const std::uint32_t m_words[4] = {m.x, m.y, m.z, m.w};
      const std::uint32_t g_words[4] = {g.x, g.y, g.z, g.w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float2 a = unpack<T>(m_words[i]);
        const float2 b = unpack<T>(g_words[i]);
        product += a.x * b.x + a.y * b.y;
      }
    }
#pragma unroll
    for (int lane = kChunks / 2; lane > 0; lane /= 2) {
      product += __shfl_xor_sync(kFullWarp, product, lane);
    }
    if (chunk != 0) continue;
    float4 values = {0, 0, 0, 0};
    if (valid) {
      const float2 statistics = problem.statistics[first + row];
      values = {statistics.x, statistics.y,
                smallest_product<kNormalizer>(arguments.weights, statistics.x, statistics.y),
                product};
      arguments.gradients.rows[first + row] = values;
    }
    rows[row] = values;
  }
}

template <class T, int kHeadSize, SparseNormalizer kNormalizer>
__global__ void __launch_bounds__(RowGeometry<kHeadSize>::kThreads,
                                  RowGeometry<kHeadSize>::kBlocksPerProcessor)
    queries_kernel(const __grid_constant__ BackwardArguments arguments) {
  using G = RowGeometry<kHeadSize>;
  constexpr int kPieces = G::kPieces;
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
  const int tiles = (min(block_row + kBlockRows, length) + kTileRows - 1) / kTileRows;
  const auto k = head_of<const T>(problem.k, batch, kv_head);
  const auto v = head_of<const T>(problem.v, batch, kv_head);
  const LaneOffsets<kHeadSize> lanes(lane);
  auto* rows = reinterpret_cast<float4*>(memory);
  std::uint8_t* tile_memory = memory + kBlockRows * sizeof(float4);
  const std::uint32_t base = shared_address(tile_memory);

  load_rows<G, kBlockRows>(base, head_of<const T>(problem.q, batch, head), block_row, length,
                           head_size);
  load_rows<G, kBlockRows>(base + G::kBlockBytes,
                           head_of<const T>(arguments.gradients.context, batch, head), block_row,
                           length, head_size);
  commit_copies();
  wait_for_copies<0>();
  __syncthreads();
  make_rows<T, G, kNormalizer>(rows, tile_memory + G::kBlockBytes, arguments, batch, head,
                               block_row);
  typename G::Fragments q;
  typename G::Fragments grad;
  load_fragments<G>(q, base, warp_block_row, lanes);
  load_fragments<G>(grad, base + G::kBlockBytes, warp_block_row, lanes);
  __syncthreads();
  float4 row[2 * kPieces];
#pragma unroll
  for (int r = 0; r < 2 * kPieces; ++r) {
    row[r] = rows[warp_block_row + 16 * (r / 2) + 8 * (r % 2) + lane / 4];
  }

  typename G::Sums grad_q;
  clear(grad_q);
  constexpr int kPairBytes = 2 * G::kTileBytes;
  stream_tiles<kStages>(
      tiles,
      [&](int tile, int stage) {
        const std::uint32_t pair = base + stage * kPairBytes;
        load_rows<G, kTileRows>(pair, k, tile * kTileRows, length, head_size);
        load_rows<G, kTileRows>(pair + G::kTileBytes, v, tile * kTileRows, length, head_size);
      },
      [&](int tile, int stage) {
        const std::uint32_t pair = base + stage * kPairBytes;
#pragma unroll
        for (int part = 0; part < kTileRows; part += 16) {
          const int key = tile * kTileRows + part;
          if (key > warp_row + G::kWarpRows - 1) break;
          typename G::template Products<2> products;
          multiply_rows<T, G, 1>(products, q, pair, part, lanes);
          if (key + 15 > warp_row) {
#pragma unroll
            for (int piece = 0; piece < kPieces; ++piece) {
#pragma unroll
              for (int n = 0; n < 2; ++n) {
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                  const int query = warp_row + 16 * piece + 8 * (i / 2) + lane / 4;
                  if (key + 8 * n + 2 * (lane % 4) + i % 2 > query) {
                    products[piece][n][i] = -INFINITY;
                  }
                }
              }
            }
          }
          bool active[kPieces];
          bool any = false;
#pragma unroll
          for (int piece = 0; piece < kPieces; ++piece) {
            active[piece] =
                any_above(products[piece], [&](int, int i) { return row[2 * piece + i / 2].z; });
            any = any || active[piece];
          }
          if (!is_clipped<kNormalizer>() && !any) continue;
          typename G::template Products<2> grad_p;
          if (any) {
            multiply_rows<T, G, 1>(grad_p, grad, pair + G::kTileBytes, part, lanes);
          } else {
            clear(grad_p);
          }
          typename G::Packed grad_s;
#pragma unroll
          for (int piece = 0; piece < kPieces; ++piece) {
            active[piece] = active[piece] || is_clipped<kNormalizer>();
            if (!active[piece]) continue;
            float values[2][4];
#pragma unroll
            for (int n = 0; n < 2; ++n) {
#pragma unroll
              for (int i = 0; i < 4; ++i) {
                const float4& r = row[2 * piece + i / 2];
                const float e = distance(weights, products[piece][n][i], r.x, r.y);
                values[n][i] = product_gradient<kNormalizer>(
                    e, weight_at<kNormalizer>(weights, e).w, grad_p[piece][n][i], r.w);
              }
            }
            pack_piece<T>(grad_s[piece], values[0], values[1]);
          }
          accumulate<T, G>(grad_q, grad_s, active, pair, part, lanes);
        }
      });

  store_rows<T, G>(
      grad_q, [&](int, int) { return score_factor<kNormalizer>(problem); },
      tile_memory + warp_block_row * G::kRowBytes, head_of<T>(arguments.gradients.q, batch, head),
      warp_row, length, head_size);
}

}  // namespace

void sparse_attention_backward_queries(const BackwardArguments& arguments, cudaStream_t stream) {
  const auto& problem = arguments.problem;
  with_instantiation(problem, [&](auto type, auto size, auto normalizer) {
    using G = RowGeometry<size()>;
    const auto kernel = queries_kernel<decltype(type), size(), normalizer()>;
    constexpr int kMemory = memory_size<G>();
    static_assert(kMemory <= kMostSharedMemory);
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kMemory),
          "oasis::attention backward");
    const dim3 grid((problem.length + kBlockRows - 1) / kBlockRows, problem.heads, problem.batch);
    kernel<<<grid, G::kThreads, kMemory, stream>>>(arguments);
    check_launch("oasis::attention backward");
  });
}

}  // namespace oasis::cuda
