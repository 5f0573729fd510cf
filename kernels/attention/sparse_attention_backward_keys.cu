// dK and dV: keys in registers, queries and their dO streamed, everything transposed: the rows of
// products are keys. The query heads that share a key head follow one another. Sums and products
// fill the registers, so a block is one warpgroup: three blocks share a multiprocessor.
#include "kernels/attention/sparse_attention_backward.cuh"
#include "kernels/cuda/launch.h"

namespace oasis::cuda {
namespace {

constexpr int kStages = 2;

template <int kHeadSize>
using KeyGeometry = Geometry<kHeadSize, kTileRows>;

// A block's keys and values, a stage's queries and their dO, and the queries' {threshold, r}.
constexpr int kRowsBytes = kTileRows * static_cast<int>(sizeof(float2));

template <class G>
using PairStream = TileStream<G, kStages, 2 * G::kTileBytes + kRowsBytes>;

template <class G>
constexpr int memory_size() {
  return 2 * G::kBlockBytes + kStages * (2 * G::kTileBytes + kRowsBytes) +
         (1 + PairStream<G>::kBarriers) * kBarrierBytes;
}

template <class T, int kHeadSize, SparseNormalizer kNormalizer>
__global__ void __launch_bounds__(KeyGeometry<kHeadSize>::kThreads, kHeadSize == 64 ? 3 : 2)
    keys_kernel(const __grid_constant__ BackwardArguments arguments) {
  using G = KeyGeometry<kHeadSize>;
  extern __shared__ __align__(1024) std::uint8_t memory[];
  const auto& problem = arguments.problem;
  const auto& gradients = arguments.gradients;
  const auto& weights = arguments.weights;
  const int length = problem.length;
  const int head_size = problem.head_size;
  const int lane = threadIdx.x % 32;
  const int batch = blockIdx.z;
  const int kv_head = blockIdx.y;
  const int heads = problem.heads / problem.kv_heads;
  const int block_row = blockIdx.x * kTileRows;  // the longest columns first
  const int warp_row = block_row + threadIdx.x / 32 * kWarpRows;
  const int first_tile = blockIdx.x;
  const int tiles = tiles_of(length) - first_tile;  // of a query head
  const int steps = heads * tiles;
  const LaneOffsets<kHeadSize> lanes(lane);
  const std::uint32_t key_block = shared_address(memory);
  const std::uint32_t value_block = key_block + G::kBlockBytes;
  constexpr int kPairBytes = 2 * G::kTileBytes;
  constexpr int kPairs = 2 * G::kBlockBytes;
  constexpr int kRows = kPairs + kStages * kPairBytes;
  const std::uint32_t barriers = key_block + kRows + kStages * kRowsBytes;
  PairStream<G> stream(barriers + kBarrierBytes);
  const auto k_rows = tiles_of_head<T>(arguments.k, problem.k, problem, batch, kv_head);
  const auto v_rows = tiles_of_head<T>(arguments.v, problem.v, problem, batch, kv_head);

  // A byte for each tile of queries: which fourths of it have weights in the block's keys.
  constexpr int kFlags = memory_size<G>();
  if constexpr (!is_clipped<kNormalizer>()) {
    for (int step = threadIdx.x; step < steps; step += G::kThreads) {
      const int tile = first_tile + step % tiles;
      const std::uint8_t* source = block_flags(problem, batch, kv_head * heads + step / tiles,
                                               tile * kTileRows / kBlockRows);
      const int shift = tile * kTileRows % kBlockRows / 16;
      memory[kFlags + step] = source[first_tile] >> shift & 0xf;
    }
  }

  init_block(barriers);
  load_block<2 * G::kBlockBytes>(barriers, [&](std::uint32_t barrier) {
    load_rows<G, kTileRows>(key_block, k_rows, block_row, barrier);
    load_rows<G, kTileRows>(value_block, v_rows, block_row, barrier);
  });

  typename G::Sums grad_k;
  typename G::Sums grad_v;
  clear(grad_k);
  clear(grad_v);
  const auto visited = [&] {
    if constexpr (is_clipped<kNormalizer>()) {
      return EveryTile{};
    } else {
      return FlaggedTiles{key_block + kFlags, steps, 0xf};
    }
  }();
  stream.run(
      steps, visited,
      [&](int step, int stage, std::uint32_t barrier) {
        const int head = kv_head * heads + step / tiles;
        const int query = (first_tile + step % tiles) * kTileRows;
        const std::uint32_t pair = key_block + kPairs + stage * kPairBytes;
        load_rows<G, kTileRows>(
            pair, tiles_of_head<T>(arguments.q, problem.q, problem, batch, head), query, barrier);
        load_rows<G, kTileRows>(
            pair + G::kTileBytes,
            tiles_of_head<T>(arguments.context, gradients.context, problem, batch, head), query,
            barrier);
        const auto head_index = static_cast<long long>(batch) * problem.heads + head;
        load_bytes(key_block + kRows + stage * kRowsBytes,
                   rows_of_head(arguments, head_index) + query, kRowsBytes, barrier);
      },
      [&](int step, int stage) {
        const int query = (first_tile + step % tiles) * kTileRows;
        const std::uint32_t queries = key_block + kPairs + stage * kPairBytes;
        const std::uint32_t grads = queries + G::kTileBytes;
        Products products;
        Products grad_p;
        multiply_tile<T, G>(products, key_block, queries, lanes);
        multiply_tile<T, G>(grad_p, value_block, grads, lanes);
        wait_for_products<0>(products, grad_p);
        if (query < warp_row + kWarpRows - 1) {
          hide_products(products, warp_row, query, [](int key, int q) { return key > q; });
        }
        // {threshold, r} of the lane's columns 8n and 8n + 1.
        const auto* columns =
            reinterpret_cast<const float4*>(memory + kRows) + stage * kTileRows / 2 + lane % 4;
#pragma unroll
        for (int part = 0; part < 4; ++part) {
          float p[2][4];
          float grad_s[2][4];
#pragma unroll
          for (int n = 0; n < 2; ++n) {
            const float4 c = columns[(2 * part + n) * 4];
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              const auto weight = weight_of<kNormalizer>(weights, products[2 * part + n][i],
                                                         i % 2 == 0 ? c.x : c.z);
              p[n][i] = weight.p;
              grad_s[n][i] = product_gradient<kNormalizer>(weight, grad_p[2 * part + n][i],
                                                           i % 2 == 0 ? c.y : c.w);
            }
          }
          std::uint32_t p_packed[4];
          std::uint32_t grad_packed[4];
          pack_piece<T>(p_packed, p[0], p[1]);
          pack_piece<T>(grad_packed, grad_s[0], grad_s[1]);
          begin_products();
          accumulate<T, G>(grad_v, p_packed, grads, part, lanes);
          accumulate<T, G>(grad_k, grad_packed, queries, part, lanes);
          end_products();
        }
        wait_for_products<0>(grad_v, grad_k);
      });

  store_rows<T, G>(
      grad_k, [&](int) { return score_factor<kNormalizer>(problem); }, memory,
      head_of<T>(gradients.k, batch, kv_head), block_row, length, head_size);
  store_rows<T, G>(
      grad_v, [](int) { return 1.0f; }, memory, head_of<T>(gradients.v, batch, kv_head), block_row,
      length, head_size);
}

}  // namespace

void sparse_attention_backward_keys(const BackwardArguments& arguments, cudaStream_t stream) {
  const auto& problem = arguments.problem;
  with_instantiation(problem, [&](auto type, auto size, auto normalizer) {
    using G = KeyGeometry<size()>;
    const auto kernel = keys_kernel<decltype(type), size(), normalizer()>;
    static_assert(memory_size<G>() + kMostFlags <= kMostSharedMemory);
    const int memory =
        memory_size<G>() + problem.heads / problem.kv_heads * tiles_of(problem.length);
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, memory),
          "oasis::attention backward");
    const dim3 grid(tiles_of(problem.length), problem.kv_heads, problem.batch);
    kernel<<<grid, G::kThreads, memory, stream>>>(arguments);
    check_launch("oasis::attention backward");
  });
}

void sparse_attention_backward(const SparseAttention& problem,
                               const SparseAttentionGradients& gradients, cudaStream_t stream) {
  const auto arguments = backward_arguments(problem, gradients);
  sparse_attention_backward_queries(arguments, stream);
  sparse_attention_backward_keys(arguments, stream);
}

}  // namespace oasis::cuda
