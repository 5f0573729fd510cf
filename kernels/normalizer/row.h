// Normalisers on one row of n logits in memory, forward and backward; T is float or double.
// Formulas and sources: normalizer.h. The loops are written for the compiler to vectorise.
//
// A NaN or a positive infinity among the logits makes the whole row NaN under softmax-like
// normalisers and sparsemax and entmax15 alike: it must not vanish in a comparison.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/normalizer/normalizer.h"
#include "kernels/normalizer/vector_math.h"

namespace oasis {

// What a later pass needs to recompute a row's weights from its logits. Two numbers, so that
// nothing is lost to rounding when logits are large:
//   softmax family    p_j = e^{s_j − shift}·value
//   sparsemax         p_j = max(s_j − shift − value, 0)
//   entmax15          p_j = max((s_j − shift)/2 − value, 0)²
template <class T>
struct RowStatistic {
  T shift = 0;
  T value = 0;

  // Softmax1's ρ. Meaningless for the other normalisers.
  T null_posterior() const { return vector_exp(-shift) * value; }
};

template <class T>
T row_max(const T* row, std::int64_t n) {
  T largest = -std::numeric_limits<T>::infinity();
#pragma omp simd reduction(max : largest)
  for (std::int64_t j = 0; j < n; ++j) largest = row[j] > largest ? row[j] : largest;
  return largest;
}

template <class T>
T row_dot(const T* a, const T* b, std::int64_t n) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t j = 0; j < n; ++j) sum += a[j] * b[j];
  return sum;
}

namespace detail {

template <class T>
T positive_part(T x) {
  return x < 0 ? T(0) : x;  // NaN stays
}

// Weights of the softmax family before any clip; returns the statistic. `weights` may be `logits`.
template <class T>
RowStatistic<T> softmax_row(bool with_null, const T* logits, T* weights, std::int64_t n) {
  T shift = row_max(logits, n);
  T sum = 0;
  if (with_null) {
    shift = shift > 0 ? shift : T(0);
    sum = vector_exp(-shift);
  }
#pragma omp simd reduction(+ : sum)
  for (std::int64_t j = 0; j < n; ++j) {
    const T e = vector_exp(logits[j] - shift);
    weights[j] = e;
    sum += e;
  }
  const T scale = 1 / sum;
#pragma omp simd
  for (std::int64_t j = 0; j < n; ++j) weights[j] *= scale;
  return {shift, scale};
}

// Root of a convex decreasing function of τ from below: Newton's step never passes the root, so
// the loop ends when rounding stops τ from growing. τ = max − 1 starts below it, since there the
// largest logit alone contributes 1.
constexpr int kMaxNewtonSteps = 64;

// Σ max(s − τ, 0) = 1. Newton's step is (Σ_{s>τ} s − 1)/|{s > τ}| (Michelot 1986).
template <class T>
RowStatistic<T> sparsemax_statistic(const T* logits, std::int64_t n) {
  const T shift = row_max(logits, n);
  T tau = -1;
  for (int step = 0; step < kMaxNewtonSteps; ++step) {
    T excess = -1;
    T support = 0;
#pragma omp simd reduction(+ : excess, support)
    for (std::int64_t j = 0; j < n; ++j) {
      const T distance = logits[j] - shift - tau;
      excess += positive_part(distance);
      support += distance > 0 ? T(1) : T(0);
    }
    const T next = tau + excess / support;
    if (next <= tau) break;
    tau = next;
    if (std::isnan(tau)) break;
  }
  return {shift, tau};
}

// Σ max(s/2 − τ, 0)² = 1. Newton on the root of the sum, a norm and so convex as well: exact in
// one step when the logits of the support are equal.
template <class T>
RowStatistic<T> entmax15_statistic(const T* logits, std::int64_t n) {
  const T shift = row_max(logits, n);
  T tau = -1;
  for (int step = 0; step < kMaxNewtonSteps; ++step) {
    T sum = 0;
    T squares = 0;
#pragma omp simd reduction(+ : sum, squares)
    for (std::int64_t j = 0; j < n; ++j) {
      const T distance = positive_part((logits[j] - shift) / 2 - tau);
      sum += distance;
      squares += distance * distance;
    }
    const T norm = std::sqrt(squares);
    const T next = tau + (norm - 1) * norm / sum;
    if (next <= tau) break;
    tau = next;
    if (std::isnan(tau)) break;
  }
  return {shift, tau};
}

template <class T>
void clip_row(const NormalizerSpec& spec, T* weights, std::int64_t n) {
  const T gain = static_cast<T>(spec.zeta - spec.gamma);
  const T offset = static_cast<T>(spec.gamma);
#pragma omp simd
  for (std::int64_t j = 0; j < n; ++j) {
    const T unclipped = gain * weights[j] + offset;
    weights[j] = unclipped < 0 ? T(0) : (unclipped > 1 ? T(1) : unclipped);
  }
}

}  // namespace detail

// Weights from logits and the row's statistic. `probs` may be `logits`.
template <class T>
void apply_statistic(const NormalizerSpec& spec, const RowStatistic<T>& statistic, const T* logits,
                     T* probs, std::int64_t n) {
  const T shift = statistic.shift;
  const T value = statistic.value;
  switch (spec.kind) {
    case Normalizer::kSoftmax:
    case Normalizer::kSoftmax1:
    case Normalizer::kClippedSoftmax:
#pragma omp simd
      for (std::int64_t j = 0; j < n; ++j) probs[j] = vector_exp(logits[j] - shift) * value;
      if (spec.kind == Normalizer::kClippedSoftmax) detail::clip_row(spec, probs, n);
      return;
    case Normalizer::kSparsemax:
#pragma omp simd
      for (std::int64_t j = 0; j < n; ++j) {
        probs[j] = detail::positive_part(logits[j] - shift - value);
      }
      return;
    case Normalizer::kEntmax15:
#pragma omp simd
      for (std::int64_t j = 0; j < n; ++j) {
        const T root = detail::positive_part((logits[j] - shift) / 2 - value);
        probs[j] = root * root;
      }
      return;
  }
}

// As normalize_row, returning the statistic instead of the null posterior.
template <class T>
RowStatistic<T> normalize_row_with_statistic(const NormalizerSpec& spec, const T* logits, T* probs,
                                             std::int64_t n) {
  RowStatistic<T> statistic;
  switch (spec.kind) {
    case Normalizer::kSoftmax:
    case Normalizer::kSoftmax1:
      return detail::softmax_row(spec.has_null(), logits, probs, n);
    case Normalizer::kClippedSoftmax:
      statistic = detail::softmax_row(false, logits, probs, n);
      detail::clip_row(spec, probs, n);
      return statistic;
    case Normalizer::kSparsemax:
      statistic = detail::sparsemax_statistic(logits, n);
      break;
    case Normalizer::kEntmax15:
      statistic = detail::entmax15_statistic(logits, n);
      break;
  }
  apply_statistic(spec, statistic, logits, probs, n);
  return statistic;
}

// Writes the n weights of a row (`probs` may be `logits`) and returns its null posterior. Finite
// for logits of ±1e4 and beyond. An empty row has null posterior 1 under softmax1.
template <class T>
T normalize_row(const NormalizerSpec& spec, const T* logits, T* probs, std::int64_t n) {
  const auto statistic = normalize_row_with_statistic(spec, logits, probs, n);
  return spec.has_null() ? statistic.null_posterior() : T(0);
}

// Turns dL/dp (and dL/dρ = grad_null) into dL/ds. `probs` are the row's weights; `logits` and
// `statistic` are read by clipped softmax alone, whose weights no longer hold the softmax;
// `null_posterior` by softmax1 alone. `grad_logits` may be `grad_probs`.
template <class T>
void normalize_row_backward(const NormalizerSpec& spec, const RowStatistic<T>& statistic,
                            const T* logits, const T* probs, const T* grad_probs, T null_posterior,
                            T grad_null, T* grad_logits, std::int64_t n) {
  switch (spec.kind) {
    case Normalizer::kSoftmax:
    case Normalizer::kSoftmax1: {
      const T row_term = row_dot(probs, grad_probs, n) + null_posterior * grad_null;
#pragma omp simd
      for (std::int64_t j = 0; j < n; ++j) grad_logits[j] = probs[j] * (grad_probs[j] - row_term);
      return;
    }
    case Normalizer::kClippedSoftmax: {
      const T gain = static_cast<T>(spec.zeta - spec.gamma);
      const T offset = static_cast<T>(spec.gamma);
      const T shift = statistic.shift;
      const T scale = statistic.value;
      T row_term = 0;
#pragma omp simd reduction(+ : row_term)
      for (std::int64_t j = 0; j < n; ++j) {
        const T soft = vector_exp(logits[j] - shift) * scale;
        const T unclipped = gain * soft + offset;
        const T passed = (unclipped >= 0 && unclipped <= 1) ? gain * grad_probs[j] : T(0);
        row_term += soft * passed;
      }
#pragma omp simd
      for (std::int64_t j = 0; j < n; ++j) {
        const T soft = vector_exp(logits[j] - shift) * scale;
        const T unclipped = gain * soft + offset;
        const T passed = (unclipped >= 0 && unclipped <= 1) ? gain * grad_probs[j] : T(0);
        grad_logits[j] = soft * (passed - row_term);
      }
      return;
    }
    case Normalizer::kSparsemax: {
      T sum = 0;
      T support = 0;
#pragma omp simd reduction(+ : sum, support)
      for (std::int64_t j = 0; j < n; ++j) {
        const bool inside = probs[j] > 0;
        sum += inside ? grad_probs[j] : T(0);
        support += inside ? T(1) : T(0);
      }
      const T mean = sum / support;
#pragma omp simd
      for (std::int64_t j = 0; j < n; ++j) {
        grad_logits[j] = probs[j] > 0 ? grad_probs[j] - mean : T(0);
      }
      return;
    }
    case Normalizer::kEntmax15: {
      T weighted = 0;
      T roots = 0;
#pragma omp simd reduction(+ : weighted, roots)
      for (std::int64_t j = 0; j < n; ++j) {
        const T root = std::sqrt(probs[j]);
        weighted += root * grad_probs[j];
        roots += root;
      }
      const T mean = weighted / roots;
#pragma omp simd
      for (std::int64_t j = 0; j < n; ++j) {
        grad_logits[j] = std::sqrt(probs[j]) * (grad_probs[j] - mean);
      }
      return;
    }
  }
}

// The same from logits and weights alone, for callers that kept no statistic.
template <class T>
void normalize_row_backward(const NormalizerSpec& spec, const T* logits, const T* probs,
                            const T* grad_probs, T grad_null, T* grad_logits, std::int64_t n) {
  RowStatistic<T> statistic;
  T null_posterior = 0;
  const bool through_null = spec.has_null() && grad_null != 0;
  if (through_null || spec.kind == Normalizer::kClippedSoftmax) {
    const T largest = row_max(logits, n);
    statistic.shift = through_null && largest < 0 ? T(0) : largest;
    T sum = through_null ? vector_exp(-statistic.shift) : T(0);
#pragma omp simd reduction(+ : sum)
    for (std::int64_t j = 0; j < n; ++j) sum += vector_exp(logits[j] - statistic.shift);
    statistic.value = 1 / sum;
    if (through_null) null_posterior = statistic.null_posterior();
  }
  normalize_row_backward(spec, statistic, logits, probs, grad_probs, null_posterior, grad_null,
                         grad_logits, n);
}

// Both at once in place, for a backward pass that recomputes: `row` holds logits and receives the
// weights, `grad_row` holds dL/dp and receives dL/ds.
template <class T>
void recompute_row_backward(const NormalizerSpec& spec, const RowStatistic<T>& statistic, T* row,
                            T* grad_row, T grad_null, std::int64_t n) {
  const T null_posterior = spec.has_null() ? statistic.null_posterior() : T(0);
  // Clipped softmax reads the logits, the others the weights.
  const bool logits_first = spec.kind == Normalizer::kClippedSoftmax;
  if (!logits_first) apply_statistic(spec, statistic, row, row, n);
  normalize_row_backward(spec, statistic, row, row, grad_row, null_posterior, grad_null, grad_row,
                         n);
  if (logits_first) apply_statistic(spec, statistic, row, row, n);
}

}  // namespace oasis
