// Tiles in shared memory and products of tiles.
//
// A block of threads owns 128 or 64 rows (queries, or keys for dK and dV), every warp 16 of them,
// and streams tiles of kTileRows rows of the other side through shared memory (tile_stream.cuh).
#pragma once

#include "kernels/attention/sparse_attention_kernel.h"
#include "kernels/attention/warpgroup_mma.cuh"
#include "kernels/cuda/mma.cuh"

namespace oasis::cuda {

constexpr unsigned kFullWarp = 0xffffffffu;
constexpr int kWarpRows = 16;
constexpr int kGroupThreads = 128;  // a warpgroup's, which multiplies a tile's rows as one
static_assert(kGroupThreads / 32 * kWarpRows == kTileRows);

// Products of a warp's rows with a tile's.
constexpr int kTileColumns = kTileRows / 8;
using Products = float[kTileColumns][4];

// Tiles lie in panels of 64 columns. A panel's rows of 128 bytes follow one another; the 16-byte
// chunks of a row are permuted by the row, so that eight rows' chunks of the same column fall into
// different banks.
constexpr int kPanelColumns = 64;
constexpr int kPanelBytes = kTileRows * kPanelColumns * 2;

// The head size is 64 or 128; smaller heads are padded with zeros in shared memory.
template <int kHeadSizeValue, int kRowsValue = kBlockRows>
struct Geometry {
  static constexpr int kHeadSize = kHeadSizeValue;
  static constexpr int kRows = kRowsValue;  // of a block
  static constexpr int kThreads = kRows / kWarpRows * 32;
  static constexpr int kBlocksPerProcessor = kHeadSize == 64 ? 2 : 1;
  static constexpr int kSteps = kHeadSize / 16;  // of the products over the head
  static constexpr int kPanels = kHeadSize / kPanelColumns;
  static constexpr int kTileBytes = kPanels * kPanelBytes;
  static constexpr int kBlockBytes = kRows / kTileRows * kTileBytes;

  // A warp's rows as first operands of products over the head.
  using Fragments = std::uint32_t[kSteps][4];
  // A warp's rows of sums over the head.
  using Sums = float[kHeadSize / 8][4];
};

// In a tile, or in a block: its tiles follow one another.
template <int kHeadSize>
__device__ constexpr std::uint32_t tile_offset(int row, int chunk) {
  return row / kTileRows * Geometry<kHeadSize>::kTileBytes + chunk / 8 * kPanelBytes +
         row % kTileRows * 128 + (((chunk ^ row) & 7) << 4);
}

template <class T>
struct Head {
  T* data;
  int row_stride;

  __device__ T* row(int index) const { return data + static_cast<long long>(index) * row_stride; }
};

template <class T>
__device__ Head<T> head_of(const HeadTensor& tensor, int batch, int head) {
  return {static_cast<T*>(tensor.data) + batch * tensor.batch_stride + head * tensor.head_stride,
          tensor.row_stride};
}

// A lane's addresses within a tile for the operands of products; rows are multiples of 16.
template <int kHeadSize>
struct LaneOffsets {
  // 16×16 pieces [row, head] as a first operand, and transposed, [head, row], as a second one.
  std::uint32_t by_row;
  // 16×16 pieces [row, head] as a second operand whose columns are the rows.
  std::uint32_t by_column;

  __device__ explicit LaneOffsets(int lane)
      : by_row(tile_offset<kHeadSize>(lane % 16, lane / 16)),
        by_column(tile_offset<kHeadSize>(lane / 16 * 8 + lane % 8, lane / 8 % 2)) {}

  // The piece at `row` and column 16·step.
  static __device__ std::uint32_t at(std::uint32_t tile, std::uint32_t offset, int row, int step) {
    return tile + tile_offset<kHeadSize>(row, step / 4 * 8) + (offset ^ (step % 4 * 32));
  }
};

template <class G>
__device__ void load_fragments(typename G::Fragments& fragments, std::uint32_t block, int warp_row,
                               const LaneOffsets<G::kHeadSize>& lanes) {
#pragma unroll
  for (int step = 0; step < G::kSteps; ++step) {
    load_matrices(fragments[step], lanes.at(block, lanes.by_row, warp_row, step));
  }
}

template <class Array>
__device__ void clear(Array& array) {
  float* values = reinterpret_cast<float*>(&array);
#pragma unroll
  for (int i = 0; i < static_cast<int>(sizeof(Array) / sizeof(float)); ++i) values[i] = 0;
}

// Products run on until wait_for_products(): until then their operands stay as they are, and sums
// are not read.
template <int kPending, class... Sums>
__device__ void wait_for_products(Sums&... sums) {
#ifdef OASIS_WARPGROUP_MMA
  warpgroup_wait<kPending>();
  (pin(sums), ...);
#endif
}

#ifndef OASIS_WARPGROUP_MMA
template <class T, class G>
__device__ void multiply_step(Products& products, const std::uint32_t (&rows)[4],
                              std::uint32_t tile, int step,
                              const LaneOffsets<G::kHeadSize>& lanes) {
#pragma unroll
  for (int n = 0; n < kTileColumns / 2; ++n) {
    std::uint32_t columns[4];
    load_matrices(columns, lanes.at(tile, lanes.by_column, 16 * n, step));
    multiply_add<T>(products[2 * n], rows, columns[0], columns[1]);
    multiply_add<T>(products[2 * n + 1], rows, columns[2], columns[3]);
  }
}
#endif

// products = rows · tileᵀ: products[n] are the columns [8n, 8n + 8). Rows in registers.
template <class T, class G>
__device__ void multiply_tile(Products& products, const typename G::Fragments& rows,
                              std::uint32_t tile, const LaneOffsets<G::kHeadSize>& lanes) {
#ifdef OASIS_WARPGROUP_MMA
  warpgroup_begin();
  pin(products);
#pragma unroll
  for (int step = 0; step < G::kSteps; ++step) {
    warpgroup_multiply_add<T, false>(
        products, rows[step],
        matrix_descriptor(tile + step / 4 * kPanelBytes) + step % 4 * (32 >> 4), step > 0);
  }
  warpgroup_commit();
#else
  clear(products);
#pragma unroll
  for (int step = 0; step < G::kSteps; ++step) {
    multiply_step<T, G>(products, rows[step], tile, step, lanes);
  }
#endif
}

// The same, the warpgroup's rows in shared memory, a tile too.
template <class T, class G>
__device__ void multiply_tile(Products& products, std::uint32_t rows, std::uint32_t tile,
                              const LaneOffsets<G::kHeadSize>& lanes) {
#ifdef OASIS_WARPGROUP_MMA
  warpgroup_begin();
  pin(products);
#pragma unroll
  for (int step = 0; step < G::kSteps; ++step) {
    const int offset = step / 4 * kPanelBytes;
    warpgroup_multiply_add<T, false>(
        products, matrix_descriptor(rows + offset) + step % 4 * (32 >> 4),
        matrix_descriptor(tile + offset) + step % 4 * (32 >> 4), step > 0);
  }
  warpgroup_commit();
#else
  clear(products);
#pragma unroll
  for (int step = 0; step < G::kSteps; ++step) {
    std::uint32_t fragment[4];
    load_matrices(fragment, lanes.at(rows, lanes.by_row, threadIdx.x / 32 % 4 * kWarpRows, step));
    multiply_step<T, G>(products, fragment, tile, step, lanes);
  }
#endif
}

// sums += weights · (rows [16·part, 16·part + 16) of a tile), between begin and end.
template <class T, class G>
__device__ void accumulate(typename G::Sums& sums, const std::uint32_t (&weights)[4],
                           std::uint32_t tile, int part, const LaneOffsets<G::kHeadSize>& lanes) {
#ifdef OASIS_WARPGROUP_MMA
#pragma unroll
  for (int panel = 0; panel < G::kPanels; ++panel) {
    warpgroup_multiply_add<T, true>(
        sums + 8 * panel, weights,
        matrix_descriptor(tile + panel * kPanelBytes) + part * (16 * 128 >> 4), true);
  }
#else
  if (!__any_sync(kFullWarp, (weights[0] | weights[1] | weights[2] | weights[3]) != 0)) return;
#pragma unroll
  for (int step = 0; step < G::kSteps; ++step) {
    std::uint32_t values[4];
    load_matrices_transposed(values, lanes.at(tile, lanes.by_row, 16 * part, step));
    multiply_add<T>(sums[2 * step], weights, values[0], values[1]);
    multiply_add<T>(sums[2 * step + 1], weights, values[2], values[3]);
  }
#endif
}

__device__ inline void begin_products() {
#ifdef OASIS_WARPGROUP_MMA
  warpgroup_begin();
#endif
}

__device__ inline void end_products() {
#ifdef OASIS_WARPGROUP_MMA
  warpgroup_commit();
#endif
}

// A 16×16 piece of weights, rounded, as a first operand.
template <class T>
__device__ void pack_piece(std::uint32_t (&packed)[4], const float (&left)[4],
                           const float (&right)[4]) {
  packed[0] = pack<T>(left[0], left[1]);
  packed[1] = pack<T>(left[2], left[3]);
  packed[2] = pack<T>(right[0], right[1]);
  packed[3] = pack<T>(right[2], right[3]);
}

// Writes a warp's rows, times factor(half) for the row 8·half + lane/4, through the same rows of a
// block in shared memory. `block_row` is the tensor's row of the block's first.
template <class T, class G, class Factor>
__device__ void store_rows(const typename G::Sums& sums, const Factor& factor, std::uint8_t* block,
                           const Head<T>& head, int block_row, int length, int head_size) {
  const int lane = threadIdx.x % 32;
  const int warp_row = threadIdx.x / 32 * kWarpRows;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = warp_row + 8 * half + lane / 4;
    const float f = factor(half);
#pragma unroll
    for (int n = 0; n < G::kHeadSize / 8; ++n) {
      *reinterpret_cast<std::uint32_t*>(block + tile_offset<G::kHeadSize>(row, n) + lane % 4 * 4) =
          pack<T>(sums[n][2 * half] * f, sums[n][2 * half + 1] * f);
    }
  }
  __syncwarp();
  constexpr int kChunks = G::kHeadSize / 8;
  const int chunk = lane % kChunks;
#pragma unroll
  for (int step = 0; step < kWarpRows; step += 32 / kChunks) {
    const int row = warp_row + step + lane / kChunks;
    if (block_row + row < length && chunk * 8 < head_size) {
      *reinterpret_cast<uint4*>(head.row(block_row + row) + chunk * 8) =
          *reinterpret_cast<const uint4*>(block + tile_offset<G::kHeadSize>(row, chunk));
    }
  }
  __syncwarp();
}

}  // namespace oasis::cuda
