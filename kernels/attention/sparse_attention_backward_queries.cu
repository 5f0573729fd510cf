// dQ: queries in registers, keys and values streamed.
#include "kernels/attention/sparse_attention_backward.cuh"
#include "kernels/cuda/launch.h"

namespace oasis::cuda {
namespace {

constexpr int kStages = 3;

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
__global__ void __launch_bounds__(Geometry<kHeadSize, 1>::kThreads,
                                  Geometry<kHeadSize, 1>::kBlocksPerProcessor)
    queries_kernel(const __grid_constant__ BackwardArguments arguments) {
  using G = Geometry<kHeadSize, 1>;
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
  const int tiles = tiles_of(min(block_row + kBlockRows, length));
  const auto k = head_of<const T>(problem.k, batch, kv_head);
  const auto v = head_of<const T>(problem.v, batch, kv_head);
  const LaneOffsets<kHeadSize> lanes(lane);
  auto* rows = reinterpret_cast<float4*>(memory);
  std::uint8_t* tile_memory = memory + kBlockRows * sizeof(float4);
  const std::uint32_t base = shared_address(tile_memory);

  constexpr int kFlags = memory_size<G>();
  if constexpr (!is_clipped<kNormalizer>()) {
    const std::uint8_t* source = block_flags(problem, batch, head, block_row / kBlockRows);
    for (int i = threadIdx.x; i < tiles; i += G::kThreads) memory[kFlags + i] = source[i];
  }

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
  const float4 row[2] = {rows[warp_block_row + lane / 4], rows[warp_block_row + lane / 4 + 8]};

  typename G::Sums grad_q;
  clear(grad_q);
  constexpr int kPairBytes = 2 * G::kTileBytes;
  const auto visited = [&] {
    if constexpr (is_clipped<kNormalizer>()) {
      return EveryTile{};
    } else {
      return FlaggedTiles{shared_address(memory) + kFlags, tiles, 1u << threadIdx.x / 32};
    }
  }();
  stream_tiles<kStages>(
      tiles, visited,
      [&](int tile, int stage) {
        const std::uint32_t pair = base + stage * kPairBytes;
        load_rows<G, kTileRows>(pair, k, tile * kTileRows, length, head_size);
        load_rows<G, kTileRows>(pair + G::kTileBytes, v, tile * kTileRows, length, head_size);
      },
      [&](int tile, int stage) {
        const std::uint32_t keys = base + stage * kPairBytes;
        const std::uint32_t values = keys + G::kTileBytes;
#pragma unroll
        for (int part = 0; part < kTileRows; part += 16) {
          const int key = tile * kTileRows + part;
          if (key > warp_row + G::kWarpRows - 1) break;
          typename G::template Products<2> products;
          multiply_rows<T, G, 1>(products, q, keys, part, lanes);
          if (key + 15 > warp_row) {
            hide_products(products[0], warp_row, key, [](int query, int k) { return k > query; });
          }
          const bool active = any_above(products[0], [&](int, int i) { return row[i / 2].z; });
          typename G::template Products<2> grad_p;
          if (active) {
            multiply_rows<T, G, 1>(grad_p, grad, values, part, lanes);
          } else if (is_clipped<kNormalizer>()) {
            clear(grad_p);
          } else {
            continue;
          }
          float grad_s[2][4];
#pragma unroll
          for (int n = 0; n < 2; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              const float4& r = row[i / 2];
              const float e = distance(weights, products[0][n][i], r.x, r.y);
              grad_s[n][i] = product_gradient<kNormalizer>(e, weight_at<kNormalizer>(weights, e).w,
                                                           grad_p[0][n][i], r.w);
            }
          }
          typename G::Packed grad_packed;
          pack_piece<T>(grad_packed[0], grad_s[0], grad_s[1]);
          accumulate<T, G>(grad_q, grad_packed, {true}, keys, part, lanes);
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
    using G = Geometry<size(), 1>;
    const auto kernel = queries_kernel<decltype(type), size(), normalizer()>;
    static_assert(memory_size<G>() + kMostFlags <= kMostSharedMemory);
    const int memory = memory_size<G>() + tiles_of(problem.length);
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, memory),
          "oasis::attention backward");
    const dim3 grid(blocks_of(problem.length), problem.heads, problem.batch);
    kernel<<<grid, G::kThreads, memory, stream>>>(arguments);
    check_launch("oasis::attention backward");
  });
}

}  // namespace oasis::cuda
