#include "kernels/normalizer/normalizer_reference.h"

#include <algorithm>
#include <cmath>
#include <functional>

namespace oasis::reference {
namespace {

using Values = std::vector<double>;

double largest(const Values& values) {
  return *std::max_element(values.begin(), values.end());
}

// e^{s − shift}/(Σ e^{s − shift} + null): the shift cancels.
Row softmax(const Values& logits, bool with_null) {
  const double shift = with_null ? std::max(largest(logits), 0.0) : largest(logits);
  const double null = with_null ? std::exp(-shift) : 0.0;
  double sum = null;
  for (const double s : logits) sum += std::exp(s - shift);
  Row row;
  for (const double s : logits) row.probs.push_back(std::exp(s - shift) / sum);
  row.null_posterior = null / sum;
  return row;
}

// The root of a decreasing function of τ on (low, high), by halving until nothing lies between.
double root(const std::function<double(double)>& function, double low, double high) {
  while (true) {
    const double middle = (low + high) / 2;
    if (middle <= low || middle >= high) return middle;
    (function(middle) > 0 ? low : high) = middle;
  }
}

// p_j = weight(s_j − max − τ) with Σ p = 1; weight is increasing, weight(1) = 1, weight(≤ 0) = 0.
Row thresholded(const Values& shifted, const std::function<double(double)>& weight) {
  const auto excess = [&](double tau) {
    double sum = -1;
    for (const double z : shifted) sum += weight(z - tau);
    return sum;
  };
  const double tau = root(excess, -1, 0);
  Row row;
  for (const double z : shifted) row.probs.push_back(weight(z - tau));
  return row;
}

Values minus_largest(const Values& logits, double factor) {
  Values shifted;
  for (const double s : logits) shifted.push_back((s - largest(logits)) * factor);
  return shifted;
}

double unclipped(const NormalizerSpec& spec, double soft) {
  return (spec.zeta - spec.gamma) * soft + spec.gamma;
}

}  // namespace

Row normalize(const NormalizerSpec& spec, const Values& logits) {
  switch (spec.kind) {
    case Normalizer::kSoftmax:
      return softmax(logits, false);
    case Normalizer::kSoftmax1:
      return softmax(logits, true);
    case Normalizer::kClippedSoftmax: {
      Row row = softmax(logits, false);
      for (double& p : row.probs) p = std::clamp(unclipped(spec, p), 0.0, 1.0);
      return row;
    }
    case Normalizer::kSparsemax:
      return thresholded(minus_largest(logits, 1), [](double z) { return std::max(z, 0.0); });
    case Normalizer::kEntmax15:
      return thresholded(minus_largest(logits, 0.5),
                         [](double z) { return std::max(z, 0.0) * std::max(z, 0.0); });
  }
  return {};
}

Values normalize_backward(const NormalizerSpec& spec, const Values& logits,
                          const Values& grad_probs, double grad_null) {
  const Row row = normalize(spec, logits);
  const std::size_t n = logits.size();
  // All five have a Jacobian ∂p_i/∂s_j = a_i·(δ_ij − b_j)·c_i; for softmax a = p, b = p, c = 1.
  Values slope(n);        // a
  Values share(n);        // b, sums to at most one
  Values passed(n, 1.0);  // c
  const Values soft = softmax(logits, false).probs;
  double slope_sum = 0;
  for (std::size_t j = 0; j < n; ++j) {
    switch (spec.kind) {
      case Normalizer::kSoftmax:
      case Normalizer::kSoftmax1:
        slope[j] = row.probs[j];
        break;
      case Normalizer::kClippedSoftmax: {
        const double u = unclipped(spec, soft[j]);
        slope[j] = soft[j];
        passed[j] = u >= 0 && u <= 1 ? spec.zeta - spec.gamma : 0.0;
        break;
      }
      case Normalizer::kSparsemax:
        slope[j] = row.probs[j] > 0 ? 1.0 : 0.0;
        break;
      case Normalizer::kEntmax15:
        slope[j] = std::sqrt(row.probs[j]);
        break;
    }
    slope_sum += slope[j];
  }
  // What the null option keeps is missing from Softmax1's sum: its shares are p themselves.
  const double whole = spec.has_null() ? 1.0 : slope_sum;
  for (std::size_t j = 0; j < n; ++j) share[j] = slope[j] / whole;

  double row_term = spec.has_null() ? row.null_posterior * grad_null : 0.0;
  for (std::size_t i = 0; i < n; ++i) row_term += share[i] * passed[i] * grad_probs[i];
  Values grad(n);
  for (std::size_t j = 0; j < n; ++j) {
    grad[j] = slope[j] * (passed[j] * grad_probs[j] - row_term);
  }
  return grad;
}

}  // namespace oasis::reference
