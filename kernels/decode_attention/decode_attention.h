// Attention of one new position per sequence over a cache of the positions before it.
//
// Sequence b stands at position p_b, which differs between sequences. Its new key and value enter
// the cache there, and its query sees the cache up to and including them:
//
//   keys[b, :, p_b] ← k_b,   values[b, :, p_b] ← v_b
//   s_j = scale · q_b·keys[b, j],  j ≤ p_b;   p = N(s);   context_b = Σ_j p_j values[b, j]
//
// which is row p_b of causal attention (attention.h) over the sequence's p_b + 1 positions, null
// posterior included. Not differentiable.
//
// Operator
//   oasis::decode_attention(Tensor q, Tensor k, Tensor v, Tensor(a!) keys, Tensor(b!) values,
//                           Tensor positions, str normalizer, float scale, float zeta=1.0,
//                           float gamma=0.0) -> (Tensor context, Tensor null_posterior)
#pragma once

#include <ATen/core/Tensor.h>

#include <tuple>

#include "kernels/normalizer/normalizer.h"

namespace oasis {

// q [B,H,1,d]; k, v [B,Hkv,1,d], H a multiple of Hkv: query head h reads key head h·Hkv/H; any
// strides. keys, values [B,Hkv,C,d] with dense rows of d, of the type of q, k and v; what they hold
// beyond a sequence's position is not read. positions int64 [B] in [0, C), on the same device: the
// CPU checks them, a GPU takes the last place of the cache for those beyond it. Returns context
// [B,H,1,d] in that type, laid out so that transpose(1, 2).reshape({B, 1, H·d}) copies nothing, and
// null_posterior [B,H,1] float32 (float64 for float64). Half types compute in float32.
std::tuple<at::Tensor, at::Tensor> decode_attention(const at::Tensor& q, const at::Tensor& k,
                                                    const at::Tensor& v, const at::Tensor& keys,
                                                    const at::Tensor& values,
                                                    const at::Tensor& positions,
                                                    const NormalizerSpec& spec, double scale);

// The first step alone, for who attends by other means.
void append_to_cache(const at::Tensor& k, const at::Tensor& v, const at::Tensor& keys,
                     const at::Tensor& values, const at::Tensor& positions);

}  // namespace oasis
