// A gate of every attention head, conditional on the token (Bondarenko et al. 2023; DESIGN.md,
// section 3): a linear map from the head's slice of the attention's input to one logit.
//   g[b,t,h] = σ(Σ_i x[b,t,h,i]·w[h,i] + bias[h]);   y[b,t,h,:] = g[b,t,h]·context[b,h,t,:]
//
// Operator: oasis::head_gate(Tensor x, Tensor weight, Tensor bias, Tensor context) -> Tensor
// x [B,T,D], weight [H,D/H], bias [H], context [B,H,T,d] of any strides; y [B,T,H·d] of the
// context's type. float32 or float64, any floating type off the CPU, the gate then in float32; one
// pass each way where x and the context are of one type. Differentiable in all four; the gradient
// of the context is laid out token by token, [B,T,H,d].
#pragma once

#include <ATen/core/Tensor.h>

namespace oasis {

at::Tensor head_gate(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                     const at::Tensor& context);

}  // namespace oasis
