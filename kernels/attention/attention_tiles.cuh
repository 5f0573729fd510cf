// Tiles in shared memory, products of tiles, and the stream of tiles past a block of rows.
//
// A block of threads owns kBlockRows rows (queries, or keys for dK and dV), every warp 16 or 32 of
// them, and streams tiles of kTileRows rows of the other side through shared memory.
#pragma once

#include "kernels/attention/sparse_attention_kernel.h"
#include "kernels/cuda/async_copy.cuh"
#include "kernels/cuda/mma.cuh"

namespace oasis::cuda {

constexpr unsigned kFullWarp = 0xffffffffu;

// The head size is 64 or 128; smaller heads are padded with zeros in shared memory. A warp has one
// or two pieces of 16 rows: two share what is read from shared memory, one needs half the registers
// and leaves room for twice the warps.
template <int kHeadSizeValue, int kPiecesValue>
struct Geometry {
  static constexpr int kHeadSize = kHeadSizeValue;
  static constexpr int kPieces = kPiecesValue;
  static constexpr int kWarpRows = 16 * kPieces;
  static constexpr int kThreads = kBlockRows / kWarpRows * 32;
  static constexpr int kBlocksPerProcessor = kHeadSize == 64 ? 2 : 1;
  static constexpr int kSteps = kHeadSize / 16;  // of the products over the head
  static constexpr int kRowBytes = kHeadSize * 2;
  static constexpr int kTileBytes = kTileRows * kRowBytes;
  static constexpr int kBlockBytes = kBlockRows * kRowBytes;

  // A warp's rows as first operands of products over the head.
  using Fragments = std::uint32_t[kPieces][kSteps][4];
  // A warp's rows of sums over the head.
  using Sums = float[kPieces][kHeadSize / 8][4];
  // Products of a warp's rows with 8·n others.
  template <int n>
  using Products = float[kPieces][n][4];
  // The same for 16 others, rounded, as first operands.
  using Packed = std::uint32_t[kPieces][4];
};

// Rows of a tile lie one after another; the 16-byte chunks of a row are permuted by the row, so
// that eight rows' chunks of the same column fall into different banks.
template <int kHeadSize>
__device__ constexpr std::uint32_t tile_offset(int row, int chunk) {
  return row * kHeadSize * 2 + ((chunk ^ (row & 7)) << 4);
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

// Starts copying rows [first, first + kRows) of a head; zeros stand beyond its length and size.
template <class G, int kRows, class T>
__device__ void load_rows(std::uint32_t tile, const Head<T>& head, int first, int length,
                          int head_size) {
  constexpr int kThreads = G::kThreads;
  constexpr int kChunks = G::kHeadSize / 8;
  static_assert(kThreads % (8 * kChunks) == 0 && kRows % (kThreads / kChunks) == 0);
  const int chunk = threadIdx.x % kChunks;
  const int row = threadIdx.x / kChunks;
  const bool inside = chunk * 8 < head_size;
  const std::uint32_t target = tile + tile_offset<G::kHeadSize>(row, chunk);
#pragma unroll
  for (int step = 0; step < kRows; step += kThreads / kChunks) {
    const int source = first + row + step;
    const bool valid = inside && source < length;
    copy_async(target + step * G::kRowBytes, head.row(valid ? source : 0) + chunk * 8, valid);
  }
}

struct Barrier {
  __device__ void operator()() const { __syncthreads(); }
};

// Which tiles a block visits, in order: the first is next(-1), the last one's next is `tiles` or
// more. skips(tile) says whether the warp has nothing to do there.
struct EveryTile {
  __device__ int next(int tile) const { return tile + 1; }
  __device__ bool skips(int) const { return false; }
};

// Those with flags: a byte per tile in shared memory, of which the warp minds the bits in `mask`.
struct FlaggedTiles {
  std::uint32_t flags;
  int tiles;
  unsigned mask;

  __device__ int next(int tile) const {
    do ++tile;
    while (tile < tiles && of(tile) == 0);
    return tile;
  }
  __device__ unsigned of(int tile) const {
    unsigned flag;
    asm volatile("ld.shared.u8 %0, [%1];" : "=r"(flag) : "r"(flags + tile) : "memory");
    return flag;
  }

  // The warp's bits.
  __device__ void set(int tile) const {
    asm volatile("red.shared.or.b32 [%0], %1;" ::"r"(flags + tile / 4 * 4),
                 "r"(mask << tile % 4 * 8)
                 : "memory");
  }
  __device__ void clear(int tile) const {
    asm volatile("red.shared.and.b32 [%0], %1;" ::"r"(flags + tile / 4 * 4),
                 "r"(~(mask << tile % 4 * 8))
                 : "memory");
  }

  __device__ bool skips(int tile) const { return (of(tile) & mask) == 0; }
};

// Streams tiles through `kStages` buffers: load(tile, stage) starts the copies of a tile,
// use(tile, stage) computes with it. All threads take part and meet in synchronize() before each
// tile; on return the buffers are free.
template <int kStages, class Visit, class Load, class Use, class Synchronize = Barrier>
__device__ void stream_tiles(int tiles, const Visit& visit, const Load& load, const Use& use,
                             const Synchronize& synchronize = {}) {
  int loading = visit.next(-1);
#pragma unroll
  for (int i = 0; i < kStages - 1; ++i) {
    if (loading < tiles) {
      load(loading, i);
      loading = visit.next(loading);
    }
    commit_copies();
  }
  int stage = 0;
  int loading_stage = kStages - 1;
  for (int tile = visit.next(-1); tile < tiles; tile = visit.next(tile)) {
    wait_for_copies<kStages - 2>();
    synchronize();
    if (loading < tiles) {
      load(loading, loading_stage);
      loading = visit.next(loading);
    }
    commit_copies();
    if (!visit.skips(tile)) use(tile, stage);
    stage = stage + 1 == kStages ? 0 : stage + 1;
    loading_stage = loading_stage + 1 == kStages ? 0 : loading_stage + 1;
  }
  wait_for_copies<0>();
  __syncthreads();
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
    return tile + row * kHeadSize * 2 + (offset ^ (step * 32));
  }
};

template <class G>
__device__ void load_fragments(typename G::Fragments& fragments, std::uint32_t block, int warp_row,
                               const LaneOffsets<G::kHeadSize>& lanes) {
#pragma unroll
  for (int piece = 0; piece < G::kPieces; ++piece) {
#pragma unroll
    for (int step = 0; step < G::kSteps; ++step) {
      load_matrices(fragments[piece][step],
                    lanes.at(block, lanes.by_row, warp_row + 16 * piece, step));
    }
  }
}

template <class Array>
__device__ void clear(Array& array) {
  float* values = reinterpret_cast<float*>(&array);
#pragma unroll
  for (int i = 0; i < static_cast<int>(sizeof(Array) / sizeof(float)); ++i) values[i] = 0;
}

// products[piece][n] = rows · (rows [row, row + 16·kWidth) of a tile)ᵀ
template <class T, class G, int kWidth>
__device__ void multiply_rows(typename G::template Products<2 * kWidth>& products,
                              const typename G::Fragments& rows, std::uint32_t tile, int row,
                              const LaneOffsets<G::kHeadSize>& lanes) {
  clear(products);
#pragma unroll
  for (int step = 0; step < G::kSteps; ++step) {
#pragma unroll
    for (int n = 0; n < kWidth; ++n) {
      std::uint32_t columns[4];
      load_matrices(columns, lanes.at(tile, lanes.by_column, row + 16 * n, step));
#pragma unroll
      for (int piece = 0; piece < G::kPieces; ++piece) {
        multiply_add<T>(products[piece][2 * n], rows[piece][step], columns[0], columns[1]);
        multiply_add<T>(products[piece][2 * n + 1], rows[piece][step], columns[2], columns[3]);
      }
    }
  }
}

// sums[piece] += weights[piece] · (rows [row, row + 16) of a tile), where the piece is active.
template <class T, class G>
__device__ void accumulate(typename G::Sums& sums, const typename G::Packed& weights,
                           const bool (&active)[G::kPieces], std::uint32_t tile, int row,
                           const LaneOffsets<G::kHeadSize>& lanes) {
#pragma unroll
  for (int step = 0; step < G::kSteps; ++step) {
    std::uint32_t values[4];
    load_matrices_transposed(values, lanes.at(tile, lanes.by_row, row, step));
#pragma unroll
    for (int piece = 0; piece < G::kPieces; ++piece) {
      if (!active[piece]) continue;
      multiply_add<T>(sums[piece][2 * step], weights[piece], values[0], values[1]);
      multiply_add<T>(sums[piece][2 * step + 1], weights[piece], values[2], values[3]);
    }
  }
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

// Writes a warp's rows, times factor(piece, half) for the row 16·piece + 8·half + lane/4, through
// the warp's own kWarpRows rows of shared memory. `first` is the tensor's row of the warp's first.
template <class T, class G, class Factor>
__device__ void store_rows(const typename G::Sums& sums, const Factor& factor, std::uint8_t* buffer,
                           const Head<T>& head, int first, int length, int head_size) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int piece = 0; piece < G::kPieces; ++piece) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = 16 * piece + 8 * half + lane / 4;
      const float f = factor(piece, half);
#pragma unroll
      for (int n = 0; n < G::kHeadSize / 8; ++n) {
        *reinterpret_cast<std::uint32_t*>(buffer + tile_offset<G::kHeadSize>(row, n) +
                                          lane % 4 * 4) =
            pack<T>(sums[piece][n][2 * half] * f, sums[piece][n][2 * half + 1] * f);
      }
    }
  }
  __syncwarp();
  constexpr int kChunks = G::kHeadSize / 8;
  const int chunk = lane % kChunks;
#pragma unroll
  for (int row = lane / kChunks; row < G::kWarpRows; row += 32 / kChunks) {
    if (first + row < length && chunk * 8 < head_size) {
      *reinterpret_cast<uint4*>(head.row(first + row) + chunk * 8) =
          *reinterpret_cast<const uint4*>(buffer + tile_offset<G::kHeadSize>(row, chunk));
    }
  }
  __syncwarp();
}

}  // namespace oasis::cuda
