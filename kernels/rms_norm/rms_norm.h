// RMSNorm over the last dimension (Zhang & Sennrich 2019):
//   y = w ∘ x · (mean_D x² + eps)^-1/2
//
// Operators: oasis::rms_norm(Tensor x, Tensor weight, float eps) -> Tensor
//            oasis::add_rms_norm(Tensor x, Tensor? branch, Tensor weight, float eps)
//              -> (Tensor h, Tensor y)
// x [..., D] float32 or float64 (any floating type off the CPU, computed in float32), weight [D];
// the result has x's type. Differentiable in x, branch and weight.
#pragma once

#include <ATen/core/Tensor.h>

#include <tuple>

namespace oasis {

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

// h = x + branch (x itself where the branch is undefined) and y = rms_norm(h), for a residual
// stream: one pass on the GPU, forward and backward, where the gradients of h and y meet.
std::tuple<at::Tensor, at::Tensor> add_rms_norm(const at::Tensor& x, const at::Tensor& branch,
                                                const at::Tensor& weight, double eps);

}  // namespace oasis
