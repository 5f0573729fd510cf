// The gated product as plain loops in float64: the contract of gated_product.h.
#pragma once

#include <ATen/core/Tensor.h>

namespace oasis::reference {

// Tensors of any floating type and strides; results are float64.
at::Tensor gated_product(const at::Tensor& gate, const at::Tensor& up);

struct GatedProductGradients {
  at::Tensor gate, up;
};

GatedProductGradients gated_product_backward(const at::Tensor& gate, const at::Tensor& up,
                                             const at::Tensor& grad_out);

}  // namespace oasis::reference
