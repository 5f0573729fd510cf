#include "kernels/benchmark/eager.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/cumsum.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/gather.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/sqrt.h>
#include <ATen/ops/sum.h>
#include <torch/csrc/autograd/custom_function.h>

namespace oasis::bench {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor row_sum(const at::Tensor& x) {
  return at::sum(x, {-1}, /*keepdim=*/true);
}

// The value of `per_rank` at the last rank inside the support.
at::Tensor at_support(const at::Tensor& per_rank, const at::Tensor& inside) {
  return at::gather(per_rank, -1, at::sum(inside, {-1}, /*keepdim=*/true) - 1);
}

at::Tensor sparsemax(const at::Tensor& shifted) {
  const auto z = std::get<0>(at::sort(shifted, -1, /*descending=*/true));
  const auto ranks = at::arange(1, z.size(-1) + 1, z.options());
  const auto sums = at::cumsum(z, -1) - 1;
  const auto threshold = at_support(sums / ranks, ranks * z > sums);
  return at::clamp(shifted - threshold, 0);
}

at::Tensor entmax15(const at::Tensor& halved) {
  const auto z = std::get<0>(at::sort(halved, -1, /*descending=*/true));
  const auto ranks = at::arange(1, z.size(-1) + 1, z.options());
  const auto mean = at::cumsum(z, -1) / ranks;
  const auto spread = at::cumsum(z * z, -1) - ranks * mean * mean;
  const auto thresholds = mean - at::sqrt(at::clamp((1 - spread) / ranks, 0));
  return at::clamp(halved - at_support(thresholds, thresholds <= z), 0).square();
}

struct SparseWeights : torch::autograd::Function<SparseWeights> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& logits, bool root) {
    const auto shifted = logits - at::amax(logits, {-1}, /*keepdim=*/true);
    const auto probs = root ? entmax15(shifted / 2) : sparsemax(shifted);
    context->save_for_backward({probs});
    context->saved_data["root"] = root;
    return probs;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto probs = context->get_saved_variables()[0];
    const auto weight = context->saved_data["root"].toBool() ? at::sqrt(probs)
                                                             : (probs > 0).to(probs.scalar_type());
    const auto mean = row_sum(grads[0] * weight) / row_sum(weight);
    return {weight * (grads[0] - mean), {}};
  }
};

}  // namespace

at::Tensor wide(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? x : x.to(at::kFloat);
}

EagerWeights eager_normalize(const at::Tensor& logits, const NormalizerSpec& spec) {
  switch (spec.kind) {
    case Normalizer::kSoftmax:
      return {at::softmax(logits, -1), {}};
    case Normalizer::kSoftmax1: {
      const auto shift = at::clamp(at::amax(logits.detach(), {-1}, /*keepdim=*/true), 0);
      const auto weights = at::exp(logits - shift);
      const auto none = at::exp(-shift);
      const auto sum = none + row_sum(weights);
      return {weights / sum, (none / sum).squeeze(-1)};
    }
    case Normalizer::kClippedSoftmax:
      return {at::clamp(at::softmax(logits, -1) * (spec.zeta - spec.gamma) + spec.gamma, 0, 1), {}};
    case Normalizer::kSparsemax:
      return {SparseWeights::apply(logits, false), {}};
    case Normalizer::kEntmax15:
      break;
  }
  return {SparseWeights::apply(logits, true), {}};
}

at::Tensor eager_normalize_rms(const at::Tensor& x, double eps) {
  const auto values = wide(x);
  return values * at::rsqrt(values.square().mean({-1}, /*keepdim=*/true) + eps);
}

}  // namespace oasis::bench
