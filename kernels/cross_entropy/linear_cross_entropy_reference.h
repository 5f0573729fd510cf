// Cross-entropy of a language-model head as plain loops in float64, one row of logits at a time:
// the contract of linear_cross_entropy.h.
#pragma once

#include <ATen/core/Tensor.h>

namespace oasis::reference {

struct LinearCrossEntropy {
  double mean_loss = 0;    // NaN when no row counts
  at::Tensor token_loss;   // [M]
  at::Tensor grad_hidden;  // [M, D], of mean_loss
  at::Tensor grad_weight;  // [V, D], of mean_loss
};

// hidden [M, D] and weight [V, D] of any floating type and strides, targets int64 [M]; results are
// float64.
LinearCrossEntropy linear_cross_entropy(const at::Tensor& hidden, const at::Tensor& weight,
                                        const at::Tensor& targets);

}  // namespace oasis::reference
