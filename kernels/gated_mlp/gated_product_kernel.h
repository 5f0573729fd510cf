// silu(gate) ∘ up and its gradient, on the GPU. Free of Torch. Every operand is a matrix [rows, I]
// with unit stride in I and a row stride of its own, so that gate and up may be halves of one.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/element_type.h"

namespace oasis::cuda {

struct Matrix {
  void* data;
  int64_t stride;  // of a row, in elements
};

struct GatedProduct {
  ElementType type;
  int64_t rows, I;
  Matrix gate, up;
  Matrix out;                 // forward
  Matrix grad;                // backward: ∂L/∂out
  Matrix grad_gate, grad_up;  // backward
  cudaStream_t stream;
};

void gated_product_forward(const GatedProduct& p);
void gated_product_backward(const GatedProduct& p);

}  // namespace oasis::cuda
