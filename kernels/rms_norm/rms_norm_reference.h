// RMSNorm as plain loops in float64: the contract of rms_norm.h.
#pragma once

#include <ATen/core/Tensor.h>

namespace oasis::reference {

// x [..., D] of any floating type and strides, weight [D]; results are float64.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

struct RmsNormGradients {
  at::Tensor x;       // [..., D]
  at::Tensor weight;  // [D]
};

RmsNormGradients rms_norm_backward(const at::Tensor& x, const at::Tensor& weight, double eps,
                                   const at::Tensor& grad_y);

}  // namespace oasis::reference
