#include "kernels/cross_entropy/linear_cross_entropy_reference.h"

#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cross_entropy/linear_cross_entropy.h"
#include "kernels/reference_values.h"

namespace oasis::reference {

LinearCrossEntropy linear_cross_entropy(const at::Tensor& hidden_in, const at::Tensor& weight_in,
                                        const at::Tensor& targets_in) {
  const auto hidden = plain(hidden_in), weight = plain(weight_in);
  const auto targets = targets_in.contiguous();
  const int64_t M = hidden.size(0), D = hidden.size(1), V = weight.size(0);
  LinearCrossEntropy out{0, at::zeros({M}, hidden.options()), at::zeros_like(hidden),
                         at::zeros_like(weight)};
  const int64_t* target = targets.const_data_ptr<int64_t>();
  const double* w = weight.const_data_ptr<double>();
  double* loss = out.token_loss.mutable_data_ptr<double>();
  double* dw = out.grad_weight.mutable_data_ptr<double>();
  const auto counted = static_cast<double>(M - std::count(target, target + M, kIgnoredTarget));
  double total = 0;
  for (int64_t m = 0; m < M; ++m) {
    if (target[m] == kIgnoredTarget) continue;
    const double* h = hidden.const_data_ptr<double>() + m * D;
    double* dh = out.grad_hidden.mutable_data_ptr<double>() + m * D;
    std::vector<double> logits(static_cast<size_t>(V));
    for (int64_t v = 0; v < V; ++v) {
      for (int64_t d = 0; d < D; ++d) logits[v] += w[v * D + d] * h[d];
    }
    const double shift = *std::max_element(logits.begin(), logits.end());
    double sum = 0;
    for (const double s : logits) sum += std::exp(s - shift);
    loss[m] = shift + std::log(sum) - logits[target[m]];
    total += loss[m];
    // ∂mean/∂logit_v = (softmax_v − [v = target]) / counted
    for (int64_t v = 0; v < V; ++v) {
      const double gradient =
          (std::exp(logits[v] - shift) / sum - (v == target[m] ? 1 : 0)) / counted;
      for (int64_t d = 0; d < D; ++d) {
        dh[d] += gradient * w[v * D + d];
        dw[v * D + d] += gradient * h[d];
      }
    }
  }
  out.mean_loss = total / counted;
  return out;
}

}  // namespace oasis::reference
