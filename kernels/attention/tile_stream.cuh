// The stream of tiles past a block of rows, through buffers in shared memory.
#pragma once

#include "kernels/attention/attention_tiles.cuh"
#include "kernels/cuda/async_copy.cuh"

namespace oasis::cuda {

// Starts copying rows [first, first + kRows) of a head; zeros stand beyond its length and size.
template <class G, int kRows, class T>
__device__ void load_rows(std::uint32_t tile, const Head<T>& head, int first, int length,
                          int head_size) {
  constexpr int kChunks = G::kHeadSize / 8;
  constexpr int kStep = kBlockThreads / kChunks;
  static_assert(kStep % 8 == 0 && kTileRows % kStep == 0);
  const int chunk = threadIdx.x % kChunks;
  const int row = threadIdx.x / kChunks;
  const bool inside = chunk * 8 < head_size;
  const std::uint32_t target = tile + tile_offset<G::kHeadSize>(row, chunk);
#pragma unroll
  for (int step = 0; step < kRows; step += kStep) {
    const int source = first + row + step;
    const bool valid = inside && source < length;
    copy_async<16>(target + tile_offset<G::kHeadSize>(step, 0),
                   head.row(valid ? source : 0) + chunk * 8, valid);
  }
}

// Products of a warpgroup read shared memory on another path than copies write it. After the
// thread's copies are done and before threads meet.
__device__ inline void show_copies_to_products() {
#ifdef OASIS_WARPGROUP_MMA
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
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

// Streams tiles through `kStages` buffers: load(tile, stage) starts the copies of a tile,
// use(tile, stage) computes with it. All threads take part and meet before each tile; on return the
// buffers are free.
template <int kStages, class Visit, class Load, class Use>
__device__ void stream_tiles(int tiles, const Visit& visit, const Load& load, const Use& use) {
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
    show_copies_to_products();
    __syncthreads();
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

}  // namespace oasis::cuda
