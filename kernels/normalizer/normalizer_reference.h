// The normalisers as plain loops in float64: slow, and written to be checked by reading.
#pragma once

#include <vector>

#include "kernels/normalizer/normalizer.h"

namespace oasis::reference {

struct Row {
  std::vector<double> probs;
  double null_posterior = 0;
};

Row normalize(const NormalizerSpec& spec, const std::vector<double>& logits);

// dL/dlogits from dL/dprobs and dL/dρ.
std::vector<double> normalize_backward(const NormalizerSpec& spec,
                                       const std::vector<double>& logits,
                                       const std::vector<double>& grad_probs, double grad_null);

}  // namespace oasis::reference
