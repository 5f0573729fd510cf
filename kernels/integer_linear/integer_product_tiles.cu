// Products of warps, m16n8k32, on any GPU of compute capability 8.0 on. A block owns 64×64 outputs
// and streams 64 inputs at a time through shared memory, which is also a group of scales.
//
// A product of 32 k's may take them in any order, if both operands do: lane l takes those of
// [8(l%4), 8(l%4) + 8), so that eight neighbouring codes, or nibbles of one register, are what it
// needs.
#include "kernels/cuda/async_copy.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/mma.cuh"
#include "kernels/integer_linear/integer_epilogue.cuh"
#include "kernels/integer_linear/integer_mma.cuh"

namespace oasis::cuda {
namespace {

constexpr int kTile = 64;  // rows, columns and inputs
constexpr int kThreads = 128;
constexpr int kStages = 3;
constexpr int kWarpTile = 32;  // rows and columns of a warp's outputs

// Rows of a tile in shared memory, padded so that eight rows fall into different banks.
template <bool kPacked>
struct Rows {
  static constexpr int kData = kPacked ? kTile / 2 : kTile;  // bytes
  static constexpr int kStride = kPacked ? 48 : 96;
  static constexpr int kBytes = kTile * kStride;
};

// Bytes [begin, begin + kData) of rows [first, first + kTile) of a matrix of `rows` rows of
// `row_bytes` bytes; zeros beyond.
template <bool kPacked>
__device__ void load_tile(std::uint32_t to, const void* from, int stride, int first, int rows,
                          int begin, int row_bytes) {
  using R = Rows<kPacked>;
  constexpr int kChunks = R::kData / 16;
#pragma unroll
  for (int i = threadIdx.x; i < kTile * kChunks; i += kThreads) {
    const int row = i / kChunks;
    const int byte = begin + i % kChunks * 16;
    const int bytes = first + row < rows ? max(0, min(16, row_bytes - byte)) : 0;
    const auto* source = static_cast<const char*>(from);
    if (bytes > 0) source += static_cast<long long>(first + row) * stride + byte;
    copy_async_part(to + row * R::kStride + i % kChunks * 16, source, bytes);
  }
}

__device__ uint2 load_shared_pair(std::uint32_t address) {
  uint2 pair;
  asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(pair.x), "=r"(pair.y) : "r"(address));
  return pair;
}
__device__ std::uint32_t load_shared(std::uint32_t address) {
  std::uint32_t word;
  asm volatile("ld.shared.u32 %0, [%1];" : "=r"(word) : "r"(address));
  return word;
}

constexpr int kRowPieces = kWarpTile / 16;
constexpr int kColumnPieces = kWarpTile / 8;
using Sums = int[kRowPieces][kColumnPieces][4];

// sums += a warp's rows · its columns, over the tile's inputs.
template <bool kPacked>
__device__ void multiply_tiles(Sums& sums, std::uint32_t rows, std::uint32_t columns) {
  using R = Rows<false>;
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int step = 0; step < kTile / 32; ++step) {
    std::uint32_t a[kRowPieces][4];
#pragma unroll
    for (int i = 0; i < kRowPieces; ++i) {
      const std::uint32_t at = rows + (i * 16 + lane / 4) * R::kStride + step * 32 + lane % 4 * 8;
      const uint2 above = load_shared_pair(at);
      const uint2 below = load_shared_pair(at + 8 * R::kStride);
      a[i][0] = above.x;
      a[i][1] = below.x;
      a[i][2] = above.y;
      a[i][3] = below.y;
    }
#pragma unroll
    for (int j = 0; j < kColumnPieces; ++j) {
      const int column = j * 8 + lane / 4;
      std::uint32_t b[2];
      if constexpr (kPacked) {
        const auto nibbles =
            load_shared(columns + column * Rows<true>::kStride + step * 16 + lane % 4 * 4);
        expand_nibbles(nibbles, b[0], b[1]);
      } else {
        const uint2 pair =
            load_shared_pair(columns + column * R::kStride + step * 32 + lane % 4 * 8);
        b[0] = pair.x;
        b[1] = pair.y;
      }
#pragma unroll
      for (int i = 0; i < kRowPieces; ++i) multiply_add(sums[i][j], a[i], b);
    }
  }
}

template <class T, bool kPacked, bool kGrouped>
__global__ void __launch_bounds__(kThreads) tiled_kernel(IntegerProduct p) {
  constexpr int kStageBytes = Rows<false>::kBytes + Rows<kPacked>::kBytes;
  __shared__ __align__(16) std::uint8_t memory[kStages * kStageBytes];
  const std::uint32_t base = shared_address(memory);
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  const int warp_row = warp / 2 * kWarpTile;
  const int warp_column = warp % 2 * kWarpTile;
  const int first_row = blockIdx.y * kTile;
  const int first_column = blockIdx.x * kTile;
  const int tiles = (p.K + kTile - 1) / kTile;
  const int weight_bytes = kPacked ? (p.K + 1) / 2 : p.K;
  Sums sums = {};
  float totals[kGrouped ? kRowPieces : 1][kColumnPieces][4] = {};

  const auto load = [&](int tile) {
    if (tile < tiles) {
      const std::uint32_t stage = base + tile % kStages * kStageBytes;
      load_tile<false>(stage, p.x, p.x_stride, first_row, p.M, tile * kTile, p.K);
      load_tile<kPacked>(stage + Rows<false>::kBytes, p.w, p.w_stride, first_column, p.N,
                         tile * Rows<kPacked>::kData, weight_bytes);
    }
    commit_copies();
  };
  for (int tile = 0; tile < kStages - 1; ++tile) load(tile);
  for (int tile = 0; tile < tiles; ++tile) {
    wait_for_copies<kStages - 2>();
    __syncthreads();
    load(tile + kStages - 1);
    const std::uint32_t stage = base + tile % kStages * kStageBytes;
    multiply_tiles<kPacked>(sums, stage + warp_row * Rows<false>::kStride,
                            stage + Rows<false>::kBytes + warp_column * Rows<kPacked>::kStride);
    if constexpr (kGrouped) {
#pragma unroll
      for (int j = 0; j < kColumnPieces; ++j) {
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          const int n = first_column + warp_column + j * 8 + lane % 4 * 2 + c % 2;
#pragma unroll
          for (int i = 0; i < kRowPieces; ++i) {
            const int sum = kPacked ? sums[i][j][c] >> kNibbleShift : sums[i][j][c];
            totals[i][j][c] = add_group(p, totals[i][j][c], sum, tile, n);
            sums[i][j][c] = 0;
          }
        }
      }
    }
  }

#pragma unroll
  for (int j = 0; j < kColumnPieces; ++j) {
    const int n = first_column + warp_column + j * 8 + lane % 4 * 2;
    const ColumnPair columns = column_pair(p, n);
#pragma unroll
    for (int i = 0; i < kRowPieces; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int m = first_row + warp_row + i * 16 + half * 8 + lane / 4;
        const float scale = row_scale(p, m);
        float out[2];
#pragma unroll
        for (int c = 0; c < 2; ++c) {
          if constexpr (kGrouped) {
            out[c] = output_of(totals[i][j][2 * half + c], scale, columns, c);
          } else {
            const int sum = sums[i][j][2 * half + c];
            out[c] = output_of(kPacked ? sum >> kNibbleShift : sum, scale, columns, c);
          }
        }
        store_pair<T>(p, m, n, out[0], out[1]);
      }
    }
  }
}

template <class T, bool kPacked, bool kGrouped>
void launch(const IntegerProduct& p) {
  // Rows in the grid's second dimension: up to 65,535 blocks.
  constexpr int kMostRows = 65535 * kTile;
  for (int begin = 0; begin < p.M; begin += kMostRows) {
    IntegerProduct part = p;
    part.M = min(kMostRows, p.M - begin);
    part.x += static_cast<long long>(begin) * p.x_stride;
    if (p.x_by_row) part.x_scale += begin;
    part.y = static_cast<T*>(p.y) + static_cast<long long>(begin) * p.N;
    const dim3 grid((p.N + kTile - 1) / kTile, (part.M + kTile - 1) / kTile);
    tiled_kernel<T, kPacked, kGrouped><<<grid, kThreads, 0, p.stream>>>(part);
  }
}

}  // namespace

void tiled_product(const IntegerProduct& p) {
  with_output_type(p, [&]<class T>(T) {
    if (p.packed) {
      p.grouped ? launch<T, true, true>(p) : launch<T, true, false>(p);
    } else {
      p.grouped ? launch<T, false, true>(p) : launch<T, false, false>(p);
    }
  });
  check_launch("oasis::integer_linear: tiles");
}

}  // namespace oasis::cuda
