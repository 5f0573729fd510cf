// How a row is spread over threads: `kThreads` share it, each holds `kPacks` packs of `kPack`
// neighbours in registers.
#pragma once

#include <cstdint>

#include "kernels/cuda/vector.cuh"
#include "kernels/rms_norm/rms_norm_kernel.h"

namespace oasis::cuda {

inline constexpr int kRowBlock = 256;

// A warp has a row of its own up to this width (32 values a lane), a block above.
inline constexpr int64_t kWidestWarpRow = 1024;

template <class T, int pack_, int threads, int packs>
struct RowLayout {
  using Element = T;
  static constexpr int kPack = pack_, kThreads = threads, kPacks = packs;
  static constexpr int kRows = kRowBlock / kThreads;  // of a block at a time
  static constexpr int kRegisters = packs * pack_ / (Pack<T, pack_>::kPairs ? 2 : 1);  // packed

  // Where this thread's pack i starts.
  __device__ static int column(int i) {
    return (i * kThreads + static_cast<int>(threadIdx.x) % kThreads) * kPack;
  }
};

// A thread's share of a row as it lies in memory, zeros behind its end.
template <class L>
struct RowShare {
  Pack<typename L::Element, L::kPack> packs[L::kPacks];

  __device__ void stay_packed() {
#pragma unroll
    for (auto& pack : packs) pack.stay_packed();
  }

  __device__ void load(const typename L::Element* row, int64_t D) {
#pragma unroll
    for (int i = 0; i < L::kPacks; ++i) {
      packs[i] = {};
      if (L::column(i) < D) packs[i] = load_pack<L::kPack>(row + L::column(i));
    }
  }
};

// function.template operator()<RowLayout<…>>() for the type, the width and whether packs can move
// as a whole.
template <class Function>
void dispatch_layout(ElementType type, int64_t D, bool vectorized, Function&& function) {
  dispatch_element(type, [&]<class T>() {
    constexpr int kPack = 16 / sizeof(T);
    if (!vectorized || D % kPack != 0) {
      constexpr int kPacks = kRmsNormLargestWidth / kRowBlock;
      return function.template operator()<RowLayout<T, 1, kRowBlock, kPacks>>();
    }
    const auto by_packs = [&]<int kThreads>() {
      const int64_t packs = (D / kPack + kThreads - 1) / kThreads;
      if (packs <= 1) return function.template operator()<RowLayout<T, kPack, kThreads, 1>>();
      if (packs <= 2) return function.template operator()<RowLayout<T, kPack, kThreads, 2>>();
      if constexpr (kPack == 8) {
        if (packs <= 3) return function.template operator()<RowLayout<T, kPack, kThreads, 3>>();
        return function.template operator()<RowLayout<T, kPack, kThreads, 4>>();
      } else {
        if (packs <= 4) return function.template operator()<RowLayout<T, kPack, kThreads, 4>>();
        if (packs <= 6) return function.template operator()<RowLayout<T, kPack, kThreads, 6>>();
        return function.template operator()<RowLayout<T, kPack, kThreads, 8>>();
      }
    };
    if (D <= kWidestWarpRow) {
      by_packs.template operator()<32>();
    } else {
      by_packs.template operator()<kRowBlock>();
    }
  });
}

}  // namespace oasis::cuda
