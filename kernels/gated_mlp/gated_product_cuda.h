// The CUDA kernels behind gated_product.h. Matrices are [M, I] with unit stride in I and any row
// stride; float32, bfloat16 or float16, all alike.
#pragma once

#include <ATen/core/Tensor.h>

namespace oasis {

struct GatedProductCuda {
  void (*forward)(const at::Tensor& gate, const at::Tensor& up, const at::Tensor& out);
  void (*backward)(const at::Tensor& grad, const at::Tensor& gate, const at::Tensor& up,
                   const at::Tensor& grad_gate, const at::Tensor& grad_up);
};

extern const GatedProductCuda* gated_product_cuda;  // null unless the CUDA library is loaded

}  // namespace oasis
