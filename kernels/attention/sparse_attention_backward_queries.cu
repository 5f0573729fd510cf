// dQ: queries in registers, keys and values streamed.
#include "kernels/attention/sparse_attention_backward.cuh"
#include "kernels/cuda/launch.h"

namespace oasis::cuda {
namespace {

template <class G>
constexpr int stages() {
  return G::kHeadSize == 64 ? 3 : 2;
}

template <class G>
using PairStream = TileStream<G, stages<G>(), 2 * G::kTileBytes>;

template <class G>
constexpr int memory_size() {
  return 2 * G::kBlockBytes + stages<G>() * 2 * G::kTileBytes +
         kBlockRows * static_cast<int>(sizeof(float2)) +
         (1 + PairStream<G>::kBarriers) * kBarrierBytes;
}

// r = dO·moment of the block's rows, beside their thresholds. Rows beyond the length are zeros.
template <class T, class G>
__device__ void make_rows(float2* rows, const std::uint8_t* grad_block,
                          const BackwardArguments& arguments, int batch, int head, int block_row) {
  constexpr int kChunks = G::kHeadSize / 8;
  constexpr int kStep = G::kThreads / kChunks;
  const auto& problem = arguments.problem;
  const auto moment = head_of<const T>(problem.moment, batch, head);
  const long long head_index = static_cast<long long>(batch) * problem.heads + head;
  const float* thresholds = problem.thresholds + head_index * problem.length + block_row;
  float2* target = rows_of_head(arguments, head_index) + block_row;
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
    const float2 values = valid ? float2{thresholds[row], product} : float2{0, 0};
    target[row] = values;
    rows[row] = values;
  }
}

template <class T, int kHeadSize, SparseNormalizer kNormalizer>
__global__ void __launch_bounds__(Geometry<kHeadSize>::kThreads,
                                  Geometry<kHeadSize>::kBlocksPerProcessor)
    queries_kernel(const __grid_constant__ BackwardArguments arguments) {
  using G = Geometry<kHeadSize>;
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
  const auto grad_rows =
      tiles_of_head<T>(arguments.context, arguments.gradients.context, problem, batch, head);
  const auto k_rows = tiles_of_head<T>(arguments.k, problem.k, problem, batch, kv_head);
  const auto v_rows = tiles_of_head<T>(arguments.v, problem.v, problem, batch, kv_head);
  const LaneOffsets<kHeadSize> lanes(lane);
  const std::uint32_t query_block = shared_address(memory);
  const std::uint32_t grad_block = query_block + G::kBlockBytes;
  const std::uint32_t base = grad_block + G::kBlockBytes;
  constexpr int kPairBytes = 2 * G::kTileBytes;
  constexpr int kRows = 2 * G::kBlockBytes + stages<G>() * kPairBytes;
  auto* rows = reinterpret_cast<float2*>(memory + kRows);
  const std::uint32_t barriers = query_block + kRows + kBlockRows * sizeof(float2);
  PairStream<G> stream(barriers + kBarrierBytes);

  constexpr int kFlags = memory_size<G>();
  if constexpr (!is_clipped<kNormalizer>()) {
    const std::uint8_t* source = block_flags(problem, batch, head, block_row / kBlockRows);
    for (int i = threadIdx.x; i < tiles; i += G::kThreads) memory[kFlags + i] = source[i];
  }

  init_block(barriers);
  load_block<2 * G::kBlockBytes>(barriers, [&](std::uint32_t barrier) {
    load_rows<G, kBlockRows>(query_block, q_rows, block_row, barrier);
    load_rows<G, kBlockRows>(grad_block, grad_rows, block_row, barrier);
  });
  make_rows<T, G>(rows, memory + G::kBlockBytes, arguments, batch, head, block_row);
  __syncthreads();
  const float2 row[2] = {rows[warp_block_row + lane / 4], rows[warp_block_row + lane / 4 + 8]};

  typename G::Sums grad_q;
  clear(grad_q);
  const auto visited = [&] {
    if constexpr (is_clipped<kNormalizer>()) {
      return EveryTile{};
    } else {
      return FlaggedTiles{query_block + kFlags, tiles, 0xfu << 4 * group};
    }
  }();
  stream.run(
      tiles, visited,
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
        Products grad_p;
        multiply_tile<T, G>(products, query_block + group * G::kTileBytes, keys, lanes);
        multiply_tile<T, G>(grad_p, grad_block + group * G::kTileBytes, values, lanes);
        wait_for_products<0>(products, grad_p);
        if (key + kTileRows - 1 > warp_row) {
          hide_products(products, warp_row, key, [](int query, int k) { return k > query; });
        }
#pragma unroll
        for (int part = 0; part < 4; ++part) {
          float grad_s[2][4];
#pragma unroll
          for (int n = 0; n < 2; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              const float2 r = row[i / 2];
              grad_s[n][i] = product_gradient<kNormalizer>(
                  weight_of<kNormalizer>(weights, products[2 * part + n][i], r.x),
                  grad_p[2 * part + n][i], r.y);
            }
          }
          std::uint32_t grad_packed[4];
          pack_piece<T>(grad_packed, grad_s[0], grad_s[1]);
          begin_products();
          accumulate<T, G>(grad_q, grad_packed, keys, part, lanes);
          end_products();
        }
        wait_for_products<0>(grad_q);
      });

  store_rows<T, G>(
      grad_q, [&](int) { return score_factor<kNormalizer>(problem); }, memory,
      head_of<T>(arguments.gradients.q, batch, head), block_row, length, head_size);
}

}  // namespace

void sparse_attention_backward_queries(const BackwardArguments& arguments, cudaStream_t stream) {
  const auto& problem = arguments.problem;
  with_instantiation(problem, [&](auto type, auto size, auto normalizer) {
    using G = Geometry<size()>;
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
