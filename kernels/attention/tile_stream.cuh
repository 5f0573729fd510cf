// The stream of tiles past a block of rows, through buffers in shared memory.
//
// On compute capability 9.0 one thread has the copy engine fetch tiles, and barriers in shared
// memory say when they are there and when their buffers are free again: warpgroups need not keep
// step. Elsewhere all threads copy, and meet before each tile.
#pragma once

#include "kernels/attention/attention_tiles.cuh"
#include "kernels/attention/tensor_map.h"
#include "kernels/cuda/async_copy.cuh"
#include "kernels/cuda/barrier.cuh"

namespace oasis::cuda {

// One head of a tensor, to load tiles from.
template <class T>
struct TileSource {
  const CUtensorMap* map;
  Head<const T> rows;
  int length;
  int head_size;
  int batch;
  int head;
};

template <class T>
__device__ TileSource<T> tiles_of_head(const CUtensorMap& map, const HeadTensor& tensor,
                                       const SparseAttention& problem, int batch, int head) {
  return {&map, head_of<const T>(tensor, batch, head), problem.length, problem.head_size, batch,
          head};
}

// Starts copying rows [first, first + kRows) into shared memory; zeros stand beyond the head's
// length and size.
template <class G, int kRows, class T>
__device__ void load_rows(std::uint32_t target, const TileSource<T>& source, int first,
                          std::uint32_t barrier) {
#ifdef OASIS_WARPGROUP_MMA
#pragma unroll
  for (int row = 0; row < kRows; row += kTileRows) {
#pragma unroll
    for (int panel = 0; panel < G::kPanels; ++panel) {
      asm volatile(
          "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes"
          " [%0], [%1, {%2, %3, %4, %5}], [%6];" ::"r"(target + row / kTileRows * G::kTileBytes +
                                                       panel * kPanelBytes),
          "l"(source.map), "r"(panel * kPanelColumns), "r"(first + row), "r"(source.head),
          "r"(source.batch), "r"(barrier)
          : "memory");
    }
  }
#else
  constexpr int kChunks = G::kHeadSize / 8;
  constexpr int kStep = G::kThreads / kChunks;
  static_assert(kStep % 8 == 0 && kTileRows % kStep == 0);
  const int chunk = threadIdx.x % kChunks;
  const int row = threadIdx.x / kChunks;
  const std::uint32_t lane_target = target + tile_offset<G::kHeadSize>(row, chunk);
#pragma unroll
  for (int step = 0; step < kRows; step += kStep) {
    const int from = first + row + step;
    const bool valid = chunk * 8 < source.head_size && from < source.length;
    copy_async<16>(lane_target + tile_offset<G::kHeadSize>(step, 0),
                   source.rows.row(valid ? from : 0) + chunk * 8, valid);
  }
#endif
}

// `bytes`, a multiple of 16, of contiguous memory at a multiple of 16.
__device__ inline void load_bytes(std::uint32_t target, const void* source, int bytes,
                                  std::uint32_t barrier) {
#ifdef OASIS_WARPGROUP_MMA
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(target),
      "l"(source), "r"(bytes), "r"(barrier)
      : "memory");
#else
  const int offset = threadIdx.x * 16;
  if (offset < bytes)
    copy_async<16>(target + offset, static_cast<const char*>(source) + offset, true);
#endif
}

// Before all else, with a barrier for load_block(); the block's streams are there already.
__device__ inline void init_block(std::uint32_t barrier) {
#ifdef OASIS_WARPGROUP_MMA
  if (threadIdx.x == 0) {
    init_barrier(barrier, 1);
    show_barriers();
  }
#endif
  __syncthreads();
}

// What a block loads once: load(barrier) starts copies of kBytes in all.
template <int kBytes, class Load>
__device__ void load_block(std::uint32_t barrier, const Load& load) {
#ifdef OASIS_WARPGROUP_MMA
  if (threadIdx.x == 0) {
    arrive_and_expect(barrier, kBytes);
    load(barrier);
  }
  wait(barrier, 0);
#else
  load(barrier);
  commit_copies();
  wait_for_copies<0>();
  __syncthreads();
#endif
}

// Which tiles a block visits, in order: the first is next(-1), the last one's next is `tiles` or
// more. skips(tile) says whether the warpgroup has nothing to do there.
struct EveryTile {
  __device__ int next(int tile) const { return tile + 1; }
  __device__ bool skips(int) const { return false; }
};

// Those with flags: a byte per tile in shared memory, of which the warpgroup minds the bits in
// `mask`.
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

  __device__ void set(int tile, unsigned bits) const {
    asm volatile("red.shared.or.b32 [%0], %1;" ::"r"(flags + tile / 4 * 4),
                 "r"(bits << tile % 4 * 8)
                 : "memory");
  }

  __device__ bool skips(int tile) const { return (of(tile) & mask) == 0; }
};

// Streams tiles of kBytes through kStages buffers. Its barriers lie in shared memory.
template <class G, int kStages, int kBytes>
class TileStream {
 public:
  static constexpr int kBarriers = 2 * kStages;

  // `barriers` are kBarriers; the block has to meet before run().
  __device__ explicit TileStream(std::uint32_t barriers) : barriers_(barriers) {
#ifdef OASIS_WARPGROUP_MMA
    if (threadIdx.x == 0) {
      for (int stage = 0; stage < kStages; ++stage) {
        init_barrier(full(stage), 1);
        init_barrier(empty(stage), G::kThreads);
      }
    }
#endif
  }

  // load(tile, stage, barrier) starts the copies of a tile, use(tile, stage) computes with it. All
  // threads take part; on return all are done, and the buffers are free.
  template <class Visit, class Load, class Use>
  __device__ void run(int tiles, const Visit& visit, const Load& load, const Use& use) {
    int loading = visit.next(-1);
#pragma unroll 1
    for (int i = 0; i < kStages - 1; ++i) start(loading, tiles, visit, load);
#pragma unroll 1
    for (int tile = visit.next(-1); tile < tiles; tile = visit.next(tile)) {
#ifdef OASIS_WARPGROUP_MMA
      start(loading, tiles, visit, load);
      wait(full(use_stage_), use_parity_);
      if (!visit.skips(tile)) use(tile, use_stage_);
      arrive(empty(use_stage_));
#else
      wait_for_copies<kStages - 2>();
      __syncthreads();
      start(loading, tiles, visit, load);
      if (!visit.skips(tile)) use(tile, use_stage_);
#endif
      advance(use_stage_, use_parity_);
    }
#ifndef OASIS_WARPGROUP_MMA
    wait_for_copies<0>();
    load_stage_ = use_stage_ = 0;
#endif
    __syncthreads();
  }

 private:
  __device__ std::uint32_t full(int stage) const {
    return barriers_ + stage * kBarrierBytes;
  }
  __device__ std::uint32_t empty(int stage) const {
    return full(kStages + stage);
  }

  __device__ static void advance(int& stage, unsigned& parity) {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }

  // Loads the tile, if there is one, once its buffer is free.
  template <class Visit, class Load>
  __device__ void start(int& tile, int tiles, const Visit& visit, const Load& load) {
#ifdef OASIS_WARPGROUP_MMA
    if (tile >= tiles) return;
    if (threadIdx.x == 0) {
      wait(empty(load_stage_), load_parity_ ^ 1);
      arrive_and_expect(full(load_stage_), kBytes);
      load(tile, load_stage_, full(load_stage_));
    }
    __syncwarp();
    tile = visit.next(tile);
#else
    if (tile < tiles) {
      load(tile, load_stage_, 0u);
      tile = visit.next(tile);
    }
    commit_copies();
#endif
    advance(load_stage_, load_parity_);
  }

  std::uint32_t barriers_;
  int load_stage_ = 0;
  int use_stage_ = 0;
  unsigned load_parity_ = 0;
  unsigned use_parity_ = 0;
};

}  // namespace oasis::cuda
