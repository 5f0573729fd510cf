// dK and dV: keys in registers, queries and their dO streamed, everything transposed: the rows of
// products are keys. The query heads that share a key head follow one another.
#include "kernels/attention/sparse_attention_backward.cuh"
#include "kernels/cuda/launch.h"

namespace oasis::cuda {
namespace {

constexpr int kStages = 2;

// A block's keys and values, a stage's queries and their dO, and the queries' {threshold, r}.
template <class G>
constexpr int memory_size() {
  return 2 * G::kBlockBytes + kStages * 2 * G::kTileBytes +
         kStages * kTileRows * static_cast<int>(sizeof(float2));
}

template <class T, int kHeadSize, SparseNormalizer kNormalizer>
__global__ void __launch_bounds__(kBlockThreads, 1)
    keys_kernel(const __grid_constant__ BackwardArguments arguments) {
  using G = Geometry<kHeadSize>;
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
  const int block_row = blockIdx.x * kBlockRows;  // the longest columns first
  const int warp_row = block_row + threadIdx.x / 32 * kWarpRows;
  const int group = threadIdx.x / kGroupThreads;
  const int group_row = block_row + group * kTileRows;
  const int first_tile = block_row / kTileRows;
  const int tiles = tiles_of(length) - first_tile;  // of a query head
  const int steps = heads * tiles;
  const LaneOffsets<kHeadSize> lanes(lane);
  const std::uint32_t key_block = shared_address(memory);
  const std::uint32_t value_block = key_block + G::kBlockBytes;
  constexpr int kPairBytes = 2 * G::kTileBytes;
  constexpr int kPairs = 2 * G::kBlockBytes;
  constexpr int kRows = kPairs + kStages * kPairBytes;

  // A byte for each tile of queries: which fourths of it have weights in the block's first tile of
  // keys, and in its second.
  constexpr int kFlags = memory_size<G>();
  if constexpr (!is_clipped<kNormalizer>()) {
    for (int step = threadIdx.x; step < steps; step += kBlockThreads) {
      const int tile = first_tile + step % tiles;
      const std::uint8_t* source = block_flags(problem, batch, kv_head * heads + step / tiles,
                                               tile * kTileRows / kBlockRows);
      const int shift = tile * kTileRows % kBlockRows / 16;
      unsigned both = source[first_tile] >> shift & 0xf;
      if (first_tile + 1 < tiles_of(length)) both |= (source[first_tile + 1] >> shift & 0xf) << 4;
      memory[kFlags + step] = both;
    }
  }

  load_rows<G, kBlockRows>(key_block, head_of<const T>(problem.k, batch, kv_head), block_row,
                           length, head_size);
  load_rows<G, kBlockRows>(value_block, head_of<const T>(problem.v, batch, kv_head), block_row,
                           length, head_size);
  commit_copies();
  wait_for_copies<0>();
  show_copies_to_products();
  __syncthreads();

  typename G::Sums grad_k;
  typename G::Sums grad_v;
  clear(grad_k);
  clear(grad_v);
  const auto visited = [&] {
    if constexpr (is_clipped<kNormalizer>()) {
      return EveryTile{};
    } else {
      return FlaggedTiles{key_block + kFlags, steps, 0xfu << 4 * group};
    }
  }();
  stream_tiles<kStages>(
      steps, visited,
      [&](int step, int stage) {
        const int head = kv_head * heads + step / tiles;
        const int query = (first_tile + step % tiles) * kTileRows;
        const std::uint32_t pair = key_block + kPairs + stage * kPairBytes;
        load_rows<G, kTileRows>(pair, head_of<const T>(problem.q, batch, head), query, length,
                                head_size);
        load_rows<G, kTileRows>(pair + G::kTileBytes,
                                head_of<const T>(gradients.context, batch, head), query, length,
                                head_size);
        if (threadIdx.x < kTileRows) {
          const int row = query + threadIdx.x;
          const bool valid = row < length;
          const float2* source =
              gradients.rows + (static_cast<long long>(batch) * problem.heads + head) * length;
          copy_async<8>(key_block + kRows + (stage * kTileRows + threadIdx.x) * 8,
                        source + (valid ? row : 0), valid);
        }
      },
      [&](int step, int stage) {
        const int query = (first_tile + step % tiles) * kTileRows;
        if (query < group_row) return;
        const std::uint32_t queries = key_block + kPairs + stage * kPairBytes;
        const std::uint32_t grads = queries + G::kTileBytes;
        Products products;
        Products grad_p;
        multiply_tile<T, G>(products, key_block + group * G::kTileBytes, queries, lanes);
        multiply_tile<T, G>(grad_p, value_block + group * G::kTileBytes, grads, lanes);
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
    using G = Geometry<size()>;
    const auto kernel = keys_kernel<decltype(type), size(), normalizer()>;
    static_assert(memory_size<G>() + kMostFlags <= kMostSharedMemory);
    const int memory =
        memory_size<G>() + problem.heads / problem.kv_heads * tiles_of(problem.length);
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, memory),
          "oasis::attention backward");
    const dim3 grid(blocks_of(problem.length), problem.kv_heads, problem.batch);
    kernel<<<grid, kBlockThreads, memory, stream>>>(arguments);
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
