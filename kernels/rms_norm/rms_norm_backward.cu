#include <algorithm>

#include "kernels/cuda/column_sum.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/reduce.cuh"
#include "kernels/rms_norm/rms_norm_layout.cuh"

namespace oasis::cuda {
namespace {

// Blocks on a multiprocessor: as many as find room for three rows, ∂w and the weights in registers.
template <class L>
constexpr int kBlocks = L::kRegisters <= 4    ? 4
                        : L::kRegisters <= 16 ? 2
                                              : 1;
constexpr int kMostBlocks = 4;

// Blocks walk over the rows and keep their share of ∂w in registers. All of a row is on its way
// before anything waits for it.
template <class L>
__global__ void __launch_bounds__(kRowBlock, kBlocks<L>)
    rms_norm_backward_kernel(RmsNormBackward p) {
  using T = typename L::Element;
  float grad_weight[L::kPacks][L::kPack] = {};
  // Two sets take turns: a warp that runs ahead writes the other one.
  __shared__ float products[2][kRowBlock / 32];
  int turn = 0;

  RowShare<L> h_row, grad_row, more_row{};
  for (int64_t row = blockIdx.x * int64_t{L::kRows} + threadIdx.x / L::kThreads; row < p.rows;
       row += gridDim.x * int64_t{L::kRows}) {
    h_row.load(static_cast<const T*>(p.h) + row * p.D, p.D);
    grad_row.load(static_cast<const T*>(p.grad_y) + row * p.D, p.D);
    if (p.grad_h != nullptr) more_row.load(static_cast<const T*>(p.grad_h) + row * p.D, p.D);
    const float r = p.inverse_rms[row];
    h_row.stay_packed();
    grad_row.stay_packed();
    more_row.stay_packed();

    float w[L::kPacks][L::kPack];
    float product = 0;
#pragma unroll
    for (int i = 0; i < L::kPacks; ++i) {
      if (L::column(i) >= p.D) continue;
      float h[L::kPack], dy[L::kPack];
      unpack(h_row.packs[i], h);
      unpack(grad_row.packs[i], dy);
      load(p.weight + L::column(i), w[i]);
#pragma unroll
      for (int j = 0; j < L::kPack; ++j) {
        const float both = dy[j] * h[j];
        grad_weight[i][j] += both * r;
        product += both * w[i][j];
      }
    }
    h_row.stay_packed();
    grad_row.stay_packed();
    if constexpr (L::kThreads == 32) {
      product = warp_sum(product);
    } else {
      product = block_sum<kRowBlock>(product, products[turn]);
      turn ^= 1;
    }
    const float pull = product * r * r * r / static_cast<float>(p.D);
#pragma unroll
    for (int i = 0; i < L::kPacks; ++i) {
      if (L::column(i) >= p.D) continue;
      float h[L::kPack], dy[L::kPack], more[L::kPack];
      unpack(h_row.packs[i], h);
      unpack(grad_row.packs[i], dy);
      unpack(more_row.packs[i], more);
#pragma unroll
      for (int j = 0; j < L::kPack; ++j) more[j] += r * w[i][j] * dy[j] - pull * h[j];
      store(static_cast<T*>(p.grad_x) + row * p.D + L::column(i), more);
    }
  }

  float* partial = p.partial + blockIdx.x * p.D;
  if constexpr (L::kThreads == kRowBlock) {
#pragma unroll
    for (int i = 0; i < L::kPacks; ++i) {
      if (L::column(i) < p.D) store(partial + L::column(i), grad_weight[i]);
    }
  } else {
    // The block's warps one after another.
    __shared__ float sums[kWidestWarpRow];
    for (int warp = 0; warp < L::kRows; ++warp) {
      if (threadIdx.x / 32 == warp) {
#pragma unroll
        for (int i = 0; i < L::kPacks; ++i) {
#pragma unroll
          for (int j = 0; j < L::kPack; ++j) {
            const int column = L::column(i) + j;
            if (column < p.D) {
              sums[column] = warp == 0 ? grad_weight[i][j] : sums[column] + grad_weight[i][j];
            }
          }
        }
      }
      __syncthreads();
    }
    for (int column = threadIdx.x; column < p.D; column += kRowBlock)
      partial[column] = sums[column];
  }
}

int64_t rows_at_a_time(int64_t D) {
  return D <= kWidestWarpRow ? kRowBlock / 32 : 1;
}

}  // namespace

// The scalar layout has a row a block whatever the width, and walks further.
int64_t rms_norm_partial_rows(int64_t rows, int64_t D) {
  const int64_t per_block = rows_at_a_time(D);
  return std::min<int64_t>((rows + per_block - 1) / per_block, kMostBlocks * multiprocessors());
}

void rms_norm_backward(const RmsNormBackward& p) {
  int64_t blocks = rms_norm_partial_rows(p.rows, p.D);
  if (p.rows > 0) {
    const bool vectorized = aligned(p.grad_y, 16) && aligned(p.grad_h, 16) && aligned(p.h, 16) &&
                            aligned(p.weight, 16) && aligned(p.grad_x, 16) &&
                            aligned(p.partial, 16);
    dispatch_layout(p.type, p.D, vectorized, [&]<class L>() {
      blocks = std::min<int64_t>(blocks, kBlocks<L> * multiprocessors());
      rms_norm_backward_kernel<L><<<static_cast<unsigned>(blocks), kRowBlock, 0, p.stream>>>(p);
    });
    check_launch("rms_norm_backward");
  }
  column_sum(p.partial, p.grad_weight, blocks, p.D, p.stream);
}

}  // namespace oasis::cuda
