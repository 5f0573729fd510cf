#include <algorithm>
#include <initializer_list>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/vector.cuh"
#include "kernels/gated_mlp/gated_product_kernel.h"

namespace oasis::cuda {
namespace {

constexpr int kBlock = 256;

template <class T>
__device__ T* at(const Matrix& matrix, int64_t row, int64_t column) {
  return static_cast<T*>(matrix.data) + row * matrix.stride + column;
}

template <class T>
__device__ float sigmoid(float x) {
  return 1 / (1 + exponential<T>(-x));
}

// A pack of kPack neighbours a thread; blocks of a row follow each other.
template <class T, int kPack, bool kBackward>
__global__ void __launch_bounds__(kBlock) gated_product_kernel(GatedProduct p, int blocks_in_row) {
  const int64_t row = blockIdx.x / blocks_in_row;
  const int64_t column = (int64_t{blockIdx.x % blocks_in_row} * kBlock + threadIdx.x) * kPack;
  if (column >= p.I) return;
  float gate[kPack], up[kPack];
  load(at<const T>(p.gate, row, column), gate);
  load(at<const T>(p.up, row, column), up);
  if constexpr (kBackward) {
    float grad[kPack];
    load(at<const T>(p.grad, row, column), grad);
#pragma unroll
    for (int i = 0; i < kPack; ++i) {
      const float s = sigmoid<T>(gate[i]);
      const float grad_up = grad[i] * gate[i] * s;
      gate[i] = grad[i] * up[i] * s * (1 + gate[i] * (1 - s));
      up[i] = grad_up;
    }
    store(at<T>(p.grad_gate, row, column), gate);
    store(at<T>(p.grad_up, row, column), up);
  } else {
#pragma unroll
    for (int i = 0; i < kPack; ++i) up[i] *= gate[i] * sigmoid<T>(gate[i]);
    store(at<T>(p.out, row, column), up);
  }
}

template <bool kBackward>
void launch(GatedProduct p, std::initializer_list<Matrix> operands, const char* what) {
  if (p.rows == 0 || p.I == 0) return;
  dispatch_element(p.type, [&]<class T>() {
    constexpr int kPack = 16 / sizeof(T);
    const bool dense =
        std::ranges::all_of(operands, [&](const Matrix& m) { return m.stride == p.I; });
    // A long row keeps blocks full where short ones would leave threads idle.
    if (dense) {
      p.I *= p.rows;
      p.rows = 1;
    }
    const bool vectorized = p.I % kPack == 0 && std::ranges::all_of(operands, [&](const Matrix& m) {
                              return aligned(m.data, 16) && (p.rows == 1 || m.stride % kPack == 0);
                            });
    const int64_t per_block = int64_t{kBlock} * (vectorized ? kPack : 1);
    const auto blocks_in_row = static_cast<int>((p.I + per_block - 1) / per_block);
    const auto blocks = static_cast<unsigned>(blocks_in_row * p.rows);
    if (vectorized) {
      gated_product_kernel<T, kPack, kBackward><<<blocks, kBlock, 0, p.stream>>>(p, blocks_in_row);
    } else {
      gated_product_kernel<T, 1, kBackward><<<blocks, kBlock, 0, p.stream>>>(p, blocks_in_row);
    }
  });
  check_launch(what);
}

}  // namespace

void gated_product_forward(const GatedProduct& p) {
  launch<false>(p, {p.gate, p.up, p.out}, "gated_product_forward");
}

void gated_product_backward(const GatedProduct& p) {
  launch<true>(p, {p.gate, p.up, p.grad, p.grad_gate, p.grad_up}, "gated_product_backward");
}

}  // namespace oasis::cuda
