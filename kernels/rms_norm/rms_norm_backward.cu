#include <algorithm>

#include "kernels/cuda/column_sum.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/reduce.cuh"
#include "kernels/rms_norm/rms_norm_layout.cuh"

namespace oasis::cuda {
namespace {

// Blocks walk over the rows and keep their share of ∂w in registers.
template <class L>
__global__ void __launch_bounds__(kRowBlock, 2) rms_norm_backward_kernel(RmsNormBackward p) {
  using T = typename L::Element;
  const int lane = threadIdx.x % L::kThreads;
  float grad_weight[L::kPacks][L::kPack] = {};
  // Two sets take turns: a warp that runs ahead writes the other one.
  __shared__ float products[2][kRowBlock / 32];
  int turn = 0;

  for (int64_t row = blockIdx.x * int64_t{L::kRows} + threadIdx.x / L::kThreads; row < p.rows;
       row += gridDim.x * int64_t{L::kRows}) {
    const auto* grad_y = static_cast<const T*>(p.grad_y) + row * p.D;
    const auto* h_row = static_cast<const T*>(p.h) + row * p.D;
    const float r = p.inverse_rms[row];
    float h[L::kPacks][L::kPack], dy[L::kPacks][L::kPack];
#pragma unroll
    for (int i = 0; i < L::kPacks; ++i) {
      const int column = (i * L::kThreads + lane) * L::kPack;
      if (column >= p.D) continue;
      load(h_row + column, h[i]);
      load(grad_y + column, dy[i]);
    }
    float product = 0;
#pragma unroll
    for (int i = 0; i < L::kPacks; ++i) {
      const int column = (i * L::kThreads + lane) * L::kPack;
      if (column >= p.D) continue;
      float w[L::kPack];
      load(p.weight + column, w);
#pragma unroll
      for (int j = 0; j < L::kPack; ++j) {
        grad_weight[i][j] += dy[i][j] * h[i][j] * r;
        dy[i][j] *= w[j];
        product += dy[i][j] * h[i][j];
      }
    }
    if constexpr (L::kThreads == 32) {
      product = warp_sum(product);
    } else {
      product = block_sum<kRowBlock>(product, products[turn]);
      turn ^= 1;
    }
    const float pull = product * r * r * r / static_cast<float>(p.D);
#pragma unroll
    for (int i = 0; i < L::kPacks; ++i) {
      const int column = (i * L::kThreads + lane) * L::kPack;
      if (column >= p.D) continue;
      float more[L::kPack] = {};
      if (p.grad_h != nullptr) load(static_cast<const T*>(p.grad_h) + row * p.D + column, more);
#pragma unroll
      for (int j = 0; j < L::kPack; ++j) more[j] += r * dy[i][j] - pull * h[i][j];
      store(static_cast<T*>(p.grad_x) + row * p.D + column, more);
    }
  }

  float* partial = p.partial + blockIdx.x * p.D;
  if constexpr (L::kThreads == kRowBlock) {
#pragma unroll
    for (int i = 0; i < L::kPacks; ++i) {
      const int column = (i * L::kThreads + lane) * L::kPack;
      if (column < p.D) store(partial + column, grad_weight[i]);
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
            const int column = (i * L::kThreads + lane) * L::kPack + j;
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

// Two blocks fit on a multiprocessor. The scalar layout has a row a block whatever the width, and
// walks further.
int64_t rms_norm_partial_rows(int64_t rows, int64_t D) {
  const int64_t per_block = rows_at_a_time(D);
  return std::min<int64_t>((rows + per_block - 1) / per_block, 2 * multiprocessors());
}

void rms_norm_backward(const RmsNormBackward& p) {
  const int64_t blocks = rms_norm_partial_rows(p.rows, p.D);
  if (p.rows > 0) {
    const bool vectorized = aligned(p.grad_y, 16) && aligned(p.grad_h, 16) && aligned(p.h, 16) &&
                            aligned(p.weight, 16) && aligned(p.grad_x, 16) &&
                            aligned(p.partial, 16);
    dispatch_layout(p.type, p.D, vectorized, [&]<class L>() {
      rms_norm_backward_kernel<L><<<static_cast<unsigned>(blocks), kRowBlock, 0, p.stream>>>(p);
    });
    check_launch("rms_norm_backward");
  }
  column_sum(p.partial, p.grad_weight, blocks, p.D, p.stream);
}

}  // namespace oasis::cuda
