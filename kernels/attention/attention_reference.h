// Causal attention as plain loops in float64, one query at a time: the contract of attention.h.
#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/normalizer/normalizer.h"

namespace oasis::reference {

struct Attention {
  at::Tensor context;         // [B,H,T,d]
  at::Tensor null_posterior;  // [B,H,T]
};

struct AttentionGradients {
  at::Tensor q;  // [B,H,T,d]
  at::Tensor k;  // [B,Hkv,T,d]
  at::Tensor v;  // [B,Hkv,T,d]
};

// Tensors of any floating type and strides; results are float64.
Attention attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                    const NormalizerSpec& spec, double scale);

AttentionGradients attention_backward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                      const NormalizerSpec& spec, double scale,
                                      const at::Tensor& grad_context, const at::Tensor& grad_null);

}  // namespace oasis::reference
