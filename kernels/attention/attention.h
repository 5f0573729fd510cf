// Causal attention under a chosen normaliser N over the tokens j ≤ t:
//
//   s_tj = scale · q_t·k_j,   p_t = N(s_t),   context_t = Σ_{j≤t} p_tj v_j
//
// with the null posterior ρ_t of each row (normalizer.h: Softmax1's 1/(1 + Σ e^{s}), else zero).
//
// Operators
//   oasis::attention(Tensor q, Tensor k, Tensor v, str normalizer, float scale, float zeta=1.0,
//                    float gamma=0.0) -> (Tensor context, Tensor null_posterior)
//   oasis::attention_weights(Tensor scores, str normalizer, float zeta=1.0, float gamma=0.0)
//     -> (Tensor probs, Tensor null_posterior)
// Both are differentiable through both outputs, the null posterior included. Memory of `attention`
// is linear in T: the T×T matrices exist one tile at a time, and again in the backward pass.
#pragma once

#include <ATen/core/Tensor.h>

#include <tuple>

#include "kernels/normalizer/normalizer.h"

namespace oasis {

// q [B,H,T,d]; k, v [B,Hkv,T,d], H a multiple of Hkv: query head h reads key head h·Hkv/H. One
// floating type for all three, any strides. Returns context [B,H,T,d] in that type, laid out so
// that transpose(1, 2).reshape({B, T, H·d}) copies nothing, and null_posterior [B,H,T] float32
// (float64 for float64 inputs). Half types compute in float32 inside.
std::tuple<at::Tensor, at::Tensor> attention(const at::Tensor& q, const at::Tensor& k,
                                             const at::Tensor& v, const NormalizerSpec& spec,
                                             double scale);

// For callers that want the probabilities themselves. scores [...,T,T] are already scaled; the
// causal mask is applied here: what stands above the diagonal is not read, and its probabilities
// and gradients are exactly 0. probs as scores, null_posterior [...,T] float32 or float64.
std::tuple<at::Tensor, at::Tensor> attention_weights(const at::Tensor& scores,
                                                     const NormalizerSpec& spec);

}  // namespace oasis
