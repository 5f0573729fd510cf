// The eager formulations' shared parts: plain compositions of ATen operators that materialise their
// intermediate results, as PyTorch code for research does.
#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/normalizer/normalizer.h"

namespace oasis::bench {

// float64 stays, everything else becomes float32.
at::Tensor wide(const at::Tensor& x);

struct EagerWeights {
  at::Tensor probs;           // as the logits
  at::Tensor null_posterior;  // [...]; undefined but under softmax1
};

// logits [..., n], float32 or float64, −inf where masked. The thresholds of sparsemax
// and 1.5-entmax by sorting, their gradients from the weights alone, as in the authors' packages.
EagerWeights eager_normalize(const at::Tensor& logits, const NormalizerSpec& spec);

// x · (mean_D x² + eps)^-1/2, in at least float32
at::Tensor eager_normalize_rms(const at::Tensor& x, double eps);

}  // namespace oasis::bench
