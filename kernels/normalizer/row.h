// Normalisers on one row of n logits in memory, forward and backward; T is float or double.
// Formulas and sources: normalizer.h. The loops are written for the compiler to vectorise.
//
// A NaN or a positive infinity among the logits makes the whole row NaN under softmax-like
// normalisers and sparsemax and entmax15 alike: it must not vanish in a comparison.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>

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

// Σ_j term(j). The sums of short chunks are added up in float64, so that rounding does not grow
// with the length of the row. (The term comes by value: read through a reference in every step,
// what it captured would keep the loop from being vectorised.)
constexpr std::int64_t kSumChunk = 64;

template <class T, class Term>
T row_sum(std::int64_t n, Term term) {
  double total = 0;
  for (std::int64_t begin = 0; begin < n; begin += kSumChunk) {
    const std::int64_t end = begin + kSumChunk < n ? begin + kSumChunk : n;
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t j = begin; j < end; ++j) sum += term(j);
    total += sum;
  }
  return static_cast<T>(total);
}

// Two sums in one pass; term(j) is a pair.
template <class T, class Term>
std::pair<T, T> row_sums(std::int64_t n, Term term) {
  double first_total = 0;
  double second_total = 0;
  for (std::int64_t begin = 0; begin < n; begin += kSumChunk) {
    const std::int64_t end = begin + kSumChunk < n ? begin + kSumChunk : n;
    T first = 0;
    T second = 0;
#pragma omp simd reduction(+ : first, second)
    for (std::int64_t j = begin; j < end; ++j) {
      const std::pair<T, T> terms = term(j);
      first += terms.first;
      second += terms.second;
    }
    first_total += first;
    second_total += second;
  }
  return {static_cast<T>(first_total), static_cast<T>(second_total)};
}

template <class T>
T row_dot(const T* a, const T* b, std::int64_t n) {
  return row_sum<T>(n, [=](std::int64_t j) { return a[j] * b[j]; });
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
  if (with_null && !(shift > 0)) shift = 0;
  const T null = with_null ? vector_exp(-shift) : T(0);
  const T sum = row_sum<T>(n, [=](std::int64_t j) {
    const T e = vector_exp(logits[j] - shift);
    weights[j] = e;
    return e;
  });
  const T scale = 1 / (sum + null);
#pragma omp simd
  for (std::int64_t j = 0; j < n; ++j) weights[j] *= scale;
  return {shift, scale};
}

// Root of a convex decreasing function by Newton's method, next = step(tau). From τ = max − 1,
// which lies below the root since the largest logit alone contributes 1, exact steps never pass it.
// Rounded ones may, by the last digits of a long step; one step back mends that, and the second
// ends it.
template <class T, class Step>
T newton_root(const Step& step) {
  constexpr int kMostSteps = 64;
  T tau = -1;
  bool stepped_back = false;
  for (int i = 0; i < kMostSteps; ++i) {
    const T next = step(tau);
    if (std::isnan(next)) return next;
    if (next == tau || (next < tau && stepped_back)) break;
    stepped_back = stepped_back || next < tau;
    tau = next;
  }
  return tau;
}

// Σ max(s − τ, 0) = 1. Newton's step is (Σ_{s>τ} s − 1)/|{s > τ}| (Michelot 1986).
template <class T>
RowStatistic<T> sparsemax_statistic(const T* logits, std::int64_t n) {
  const T shift = row_max(logits, n);
  return {shift, newton_root<T>([=](T tau) {
            const auto [sum, support] = row_sums<T>(n, [=](std::int64_t j) {
              const T distance = logits[j] - shift - tau;
              return std::pair{positive_part(distance), distance > 0 ? T(1) : T(0)};
            });
            return tau + (sum - 1) / support;
          })};
}

// Σ max(s/2 − τ, 0)² = 1. Newton on the root of the sum, a norm and so convex as well: exact in
// one step when the logits of the support are equal.
template <class T>
RowStatistic<T> entmax15_statistic(const T* logits, std::int64_t n) {
  const T shift = row_max(logits, n);
  return {shift, newton_root<T>([=](T tau) {
            const auto [sum, squares] = row_sums<T>(n, [=](std::int64_t j) {
              const T distance = positive_part((logits[j] - shift) / 2 - tau);
              return std::pair{distance, distance * distance};
            });
            const T norm = std::sqrt(squares);
            return tau + (norm - 1) * norm / sum;
          })};
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
      const T row_term = row_sum<T>(n, [=](std::int64_t j) {
        const T soft = vector_exp(logits[j] - shift) * scale;
        const T unclipped = gain * soft + offset;
        const T passed = (unclipped >= 0 && unclipped <= 1) ? gain * grad_probs[j] : T(0);
        return soft * passed;
      });
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
      const auto [sum, support] = row_sums<T>(n, [=](std::int64_t j) {
        return std::pair{probs[j] > 0 ? grad_probs[j] : T(0), probs[j] > 0 ? T(1) : T(0)};
      });
      const T mean = sum / support;
#pragma omp simd
      for (std::int64_t j = 0; j < n; ++j) {
        grad_logits[j] = probs[j] > 0 ? grad_probs[j] - mean : T(0);
      }
      return;
    }
    case Normalizer::kEntmax15: {
      const auto [weighted, roots] = row_sums<T>(n, [=](std::int64_t j) {
        const T root = std::sqrt(probs[j]);
        return std::pair{root * grad_probs[j], root};
      });
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
    const T shift = through_null && !(largest > 0) ? T(0) : largest;
    const T null = through_null ? vector_exp(-shift) : T(0);
    const T sum = row_sum<T>(n, [=](std::int64_t j) { return vector_exp(logits[j] - shift); });
    statistic = {shift, 1 / (sum + null)};
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
