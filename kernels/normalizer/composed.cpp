#include "kernels/normalizer/composed.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/clamp_min.h>
#include <ATen/ops/cumsum.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/gather.h>
#include <ATen/ops/logical_and.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/sqrt.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros_like.h>

namespace oasis::composed {
namespace {

// Thresholds by sorting. Values are shifted so that the largest is 0 and cut off at −1: what lies
// there or below has no weight (the largest alone would already contribute 1), and −inf would
// spoil the sums.
at::Tensor sorted_values(const at::Tensor& shifted) {
  return std::get<0>(at::sort(at::clamp_min(shifted, -1), -1, /*descending=*/true));
}

at::Tensor ranks_like(const at::Tensor& values) {
  return at::arange(1, values.size(-1) + 1, values.options());
}

at::Tensor at_support(const at::Tensor& per_rank, const at::Tensor& inside) {
  const auto support = at::clamp_min(at::sum(inside, {-1}, /*keepdim=*/true), 1);
  return at::gather(per_rank, -1, support - 1);
}

at::Tensor sparsemax_threshold(const at::Tensor& shifted) {
  const auto z = sorted_values(shifted);
  const auto ranks = ranks_like(z);
  const auto thresholds = (at::cumsum(z, -1) - 1) / ranks;
  return at_support(thresholds, z > thresholds);
}

at::Tensor entmax15_threshold(const at::Tensor& halved) {
  const auto z = sorted_values(halved);
  const auto ranks = ranks_like(z);
  const auto mean = at::cumsum(z, -1) / ranks;
  const auto mean_square = at::cumsum(z * z, -1) / ranks;
  const auto spread = at::clamp_min(1 / ranks - (mean_square - mean * mean), 0);
  const auto thresholds = mean - at::sqrt(spread);
  return at_support(thresholds, thresholds <= z);
}

at::Tensor softmax_of(const Statistic& statistic, const at::Tensor& logits) {
  return at::exp(logits - statistic.shift) * statistic.value;
}

at::Tensor unclipped_of(const NormalizerSpec& spec, const at::Tensor& softmax) {
  return softmax * (spec.zeta - spec.gamma) + spec.gamma;
}

}  // namespace

Statistic row_statistic(const NormalizerSpec& spec, const at::Tensor& logits) {
  auto shift = at::amax(logits, {-1}, /*keepdim=*/true);
  switch (spec.kind) {
    case Normalizer::kSparsemax:
      return {shift, sparsemax_threshold(logits - shift)};
    case Normalizer::kEntmax15:
      return {shift, entmax15_threshold((logits - shift) / 2)};
    default:
      break;
  }
  if (spec.has_null()) shift = at::clamp_min(shift, 0);
  auto sum = at::sum(at::exp(logits - shift), {-1}, /*keepdim=*/true);
  if (spec.has_null()) sum = sum + at::exp(-shift);
  return {shift, sum.reciprocal()};
}

at::Tensor apply_statistic(const NormalizerSpec& spec, const Statistic& statistic,
                           const at::Tensor& logits) {
  switch (spec.kind) {
    case Normalizer::kSparsemax:
      return at::clamp_min(logits - statistic.shift - statistic.value, 0);
    case Normalizer::kEntmax15: {
      const auto root = at::clamp_min((logits - statistic.shift) / 2 - statistic.value, 0);
      return root * root;
    }
    case Normalizer::kClippedSoftmax:
      return at::clamp(unclipped_of(spec, softmax_of(statistic, logits)), 0, 1);
    default:
      return softmax_of(statistic, logits);
  }
}

at::Tensor null_posterior(const NormalizerSpec& spec, const Statistic& statistic) {
  if (!spec.has_null()) return at::zeros_like(statistic.value);
  return at::exp(-statistic.shift) * statistic.value;
}

at::Tensor normalize_backward(const NormalizerSpec& spec, const Statistic& statistic,
                              const at::Tensor& logits, const at::Tensor& probs,
                              const at::Tensor& grad_probs, const at::Tensor& grad_null) {
  const auto row_sum = [](const at::Tensor& x) { return at::sum(x, {-1}, /*keepdim=*/true); };
  switch (spec.kind) {
    case Normalizer::kSparsemax: {
      const auto inside = (probs > 0).to(probs.scalar_type());
      const auto mean = row_sum(inside * grad_probs) / row_sum(inside);
      return inside * (grad_probs - mean);
    }
    case Normalizer::kEntmax15: {
      const auto root = at::sqrt(probs);
      const auto mean = row_sum(root * grad_probs) / row_sum(root);
      return root * (grad_probs - mean);
    }
    case Normalizer::kClippedSoftmax: {
      const auto soft = softmax_of(statistic, logits);
      const auto unclipped = unclipped_of(spec, soft);
      const auto inside = at::logical_and(unclipped >= 0, unclipped <= 1).to(probs.scalar_type());
      const auto passed = inside * grad_probs * (spec.zeta - spec.gamma);
      return soft * (passed - row_sum(soft * passed));
    }
    default: {
      auto row_term = row_sum(probs * grad_probs);
      if (spec.has_null() && grad_null.defined()) {
        row_term = row_term + null_posterior(spec, statistic) * grad_null;
      }
      return probs * (grad_probs - row_term);
    }
  }
}

}  // namespace oasis::composed
