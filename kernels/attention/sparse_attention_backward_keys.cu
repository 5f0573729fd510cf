// dK and dV: keys in registers, queries and their dO streamed, everything transposed: the rows of
// products are keys. The query heads that share a key head follow one another.
#include "kernels/attention/sparse_attention_backward.cuh"
#include "kernels/cuda/launch.h"

namespace oasis::cuda {
namespace {

constexpr int kStages = 2;

// Of a stage: queries, their dO, and their rows' {m, θ, bound, r}.
// Two pieces where the registers allow it: what limits this kernel is shared memory.
template <int kHeadSize>
using RowGeometry = Geometry<kHeadSize, kHeadSize == 64 ? 2 : 1>;

template <class G>
constexpr int stage_size() {
  return 2 * G::kTileBytes + kTileRows * static_cast<int>(sizeof(float4));
}

template <class G>
constexpr int memory_size() {
  return 2 * G::kBlockBytes + kStages * stage_size<G>();
}

template <class T, int kHeadSize, SparseNormalizer kNormalizer>
__global__ void __launch_bounds__(RowGeometry<kHeadSize>::kThreads,
                                  RowGeometry<kHeadSize>::kBlocksPerProcessor)
    keys_kernel(const __grid_constant__ BackwardArguments arguments) {
  using G = RowGeometry<kHeadSize>;
  constexpr int kPieces = G::kPieces;
  extern __shared__ __align__(1024) std::uint8_t memory[];
  const auto& problem = arguments.problem;
  const auto& gradients = arguments.gradients;
  const auto& weights = arguments.weights;
  const int length = problem.length;
  const int head_size = problem.head_size;
  const int lane = threadIdx.x % 32;
  const int batch = blockIdx.z;
  const int kv_head = blockIdx.y;
  const int group = problem.heads / problem.kv_heads;
  const int block_row = blockIdx.x * kBlockRows;  // the longest columns first
  const int warp_block_row = threadIdx.x / 32 * G::kWarpRows;
  const int warp_row = block_row + warp_block_row;
  const int first_tile = block_row / kTileRows;
  const int tiles = tiles_of(length) - first_tile;  // of a query head
  const int steps = group * tiles;
  const LaneOffsets<kHeadSize> lanes(lane);
  const std::uint32_t key_block = shared_address(memory);
  const std::uint32_t value_block = key_block + G::kBlockBytes;
  constexpr int kStageStart = 2 * G::kBlockBytes;

  // A byte for each tile of queries: which fourths of it have weights in the block's first tile of
  // keys, and in its second.
  constexpr int kFlags = memory_size<G>();
  if constexpr (!is_clipped<kNormalizer>()) {
    for (int step = threadIdx.x; step < steps; step += G::kThreads) {
      const int tile = first_tile + step % tiles;
      const std::uint8_t* source = block_flags(problem, batch, kv_head * group + step / tiles,
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
  __syncthreads();
  typename G::Fragments k;
  load_fragments<G>(k, key_block, warp_block_row, lanes);

  typename G::Sums grad_k;
  typename G::Sums grad_v;
  clear(grad_k);
  clear(grad_v);
  const auto visited = [&] {
    if constexpr (is_clipped<kNormalizer>()) {
      return EveryTile{};
    } else {
      return FlaggedTiles{key_block + kFlags, steps, 0xfu << warp_block_row / kTileRows * 4};
    }
  }();
  stream_tiles<kStages>(
      steps, visited,
      [&](int step, int stage) {
        const int head = kv_head * group + step / tiles;
        const int query = (first_tile + step % tiles) * kTileRows;
        const std::uint32_t target = key_block + kStageStart + stage * stage_size<G>();
        load_rows<G, kTileRows>(target, head_of<const T>(problem.q, batch, head), query, length,
                                head_size);
        load_rows<G, kTileRows>(target + G::kTileBytes,
                                head_of<const T>(gradients.context, batch, head), query, length,
                                head_size);
        if (threadIdx.x < kTileRows) {
          const int row = query + threadIdx.x;
          const bool valid = row < length;
          const float4* source =
              gradients.rows + (static_cast<long long>(batch) * problem.heads + head) * length;
          copy_async(target + 2 * G::kTileBytes + threadIdx.x * sizeof(float4),
                     source + (valid ? row : 0), valid);
        }
      },
      [&](int step, int stage) {
        const int first_query = (first_tile + step % tiles) * kTileRows;
        const int start = kStageStart + stage * stage_size<G>();
        const std::uint32_t queries = key_block + start;
        const std::uint32_t grads = queries + G::kTileBytes;
        const auto* rows = reinterpret_cast<const float4*>(memory + start + 2 * G::kTileBytes);
#pragma unroll
        for (int part = 0; part < kTileRows; part += 16) {
          const int query = first_query + part;
          if (query + 15 < warp_row) continue;
          typename G::template Products<2> products;
          multiply_rows<T, G, 1>(products, k, queries, part, lanes);
          if (query < warp_row + G::kWarpRows - 1) {
#pragma unroll
            for (int piece = 0; piece < kPieces; ++piece) {
              hide_products(products[piece], warp_row + 16 * piece, query,
                            [](int key, int q) { return key > q; });
            }
          }
          float4 column[2][2];
#pragma unroll
          for (int n = 0; n < 2; ++n) {
#pragma unroll
            for (int i = 0; i < 2; ++i) column[n][i] = rows[part + 8 * n + 2 * (lane % 4) + i];
          }
          bool active[kPieces];
          bool any = false;
#pragma unroll
          for (int piece = 0; piece < kPieces; ++piece) {
            active[piece] =
                any_above(products[piece], [&](int n, int i) { return column[n][i % 2].z; });
            any = any || active[piece];
          }
          if (!is_clipped<kNormalizer>() && !any) continue;

          typename G::template Products<2> grad_p;
          clear(grad_p);
          if (any) {
#pragma unroll
            for (int s = 0; s < G::kSteps; ++s) {
              std::uint32_t columns[4];
              load_matrices(columns, lanes.at(grads, lanes.by_column, part, s));
#pragma unroll
              for (int piece = 0; piece < kPieces; ++piece) {
                if (!active[piece]) continue;
                std::uint32_t v[4];
                load_matrices(v,
                              lanes.at(value_block, lanes.by_row, warp_block_row + 16 * piece, s));
                multiply_add<T>(grad_p[piece][0], v, columns[0], columns[1]);
                multiply_add<T>(grad_p[piece][1], v, columns[2], columns[3]);
              }
            }
          }
          typename G::Packed p;
          typename G::Packed grad_s;
#pragma unroll
          for (int piece = 0; piece < kPieces; ++piece) {
            if (!is_clipped<kNormalizer>() && !active[piece]) continue;
            float p_values[2][4];
            float grad_values[2][4];
#pragma unroll
            for (int n = 0; n < 2; ++n) {
#pragma unroll
              for (int i = 0; i < 4; ++i) {
                const float4& c = column[n][i % 2];
                const float e = distance(weights, products[piece][n][i], c.x, c.y);
                const auto weight = weight_at<kNormalizer>(weights, e);
                p_values[n][i] = weight.p;
                grad_values[n][i] =
                    product_gradient<kNormalizer>(e, weight.w, grad_p[piece][n][i], c.w);
              }
            }
            pack_piece<T>(p[piece], p_values[0], p_values[1]);
            pack_piece<T>(grad_s[piece], grad_values[0], grad_values[1]);
          }
          if (any) accumulate<T, G>(grad_v, p, active, grads, part, lanes);
#pragma unroll
          for (int piece = 0; piece < kPieces; ++piece) {
            active[piece] = active[piece] || is_clipped<kNormalizer>();
          }
          accumulate<T, G>(grad_k, grad_s, active, queries, part, lanes);
        }
      });

  std::uint8_t* buffer = memory + warp_block_row * G::kRowBytes;
  store_rows<T, G>(
      grad_k, [&](int, int) { return score_factor<kNormalizer>(problem); }, buffer,
      head_of<T>(gradients.k, batch, kv_head), warp_row, length, head_size);
  store_rows<T, G>(
      grad_v, [](int, int) { return 1.0f; }, buffer, head_of<T>(gradients.v, batch, kv_head),
      warp_row, length, head_size);
}

}  // namespace

void sparse_attention_backward_keys(const BackwardArguments& arguments, cudaStream_t stream) {
  const auto& problem = arguments.problem;
  with_instantiation(problem, [&](auto type, auto size, auto normalizer) {
    using G = RowGeometry<size()>;
    const auto kernel = keys_kernel<decltype(type), size(), normalizer()>;
    static_assert(memory_size<G>() + kMostFlags <= kMostSharedMemory);
    const int memory =
        memory_size<G>() + problem.heads / problem.kv_heads * tiles_of(problem.length);
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, memory),
          "oasis::attention backward");
    const dim3 grid(blocks_of(problem.length), problem.kv_heads, problem.batch);
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
