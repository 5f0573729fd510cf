// The row operations of row.h as compositions of LibTorch operators, for every device that has no
// kernel of its own. Tensors are float32 or float64, rows lie along the last dimension; logits of
// −inf (masked positions) get weight 0.
#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/normalizer/normalizer.h"

namespace oasis::composed {

// Both [..., 1]; meaning as RowStatistic in row.h.
struct Statistic {
  at::Tensor shift;
  at::Tensor value;
};

Statistic row_statistic(const NormalizerSpec& spec, const at::Tensor& logits);

at::Tensor apply_statistic(const NormalizerSpec& spec, const Statistic& statistic,
                           const at::Tensor& logits);

// ρ [..., 1]; zeros for every normaliser but softmax1.
at::Tensor null_posterior(const NormalizerSpec& spec, const Statistic& statistic);

// dL/dlogits from dL/dprobs and dL/dρ [..., 1] (undefined: zero).
at::Tensor normalize_backward(const NormalizerSpec& spec, const Statistic& statistic,
                              const at::Tensor& logits, const at::Tensor& probs,
                              const at::Tensor& grad_probs, const at::Tensor& grad_null);

}  // namespace oasis::composed
