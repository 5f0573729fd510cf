// RMSNorm over the last dimension (Zhang & Sennrich 2019):
//   y = w ∘ x · (mean_D x² + eps)^-1/2
//
// Operator: oasis::rms_norm(Tensor x, Tensor weight, float eps) -> Tensor
// x [..., D] float32 or float64 (any floating type off the CPU, computed in float32), weight [D];
// the result has x's type. Differentiable in x and weight.
#pragma once

#include <ATen/core/Tensor.h>

namespace oasis {

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

}  // namespace oasis
