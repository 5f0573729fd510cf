#include "kernels/activation_stats/activation_stats.h"

#include <ATen/Dispatch.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/activation_stats/activation_stats_cuda.h"
#include "kernels/parallel.h"

namespace oasis {

const ActivationStatsCuda* activation_stats_cuda = nullptr;

namespace {

constexpr std::int64_t kElementsPerTask = 16384;

// max with NaN winning, as in torch.max.
double max_or_nan(double a, double b) {
  return std::isnan(a) || a > b ? a : b;
}

// A token's values stay in the first-level cache between the two loops: one pass over memory.
template <class T>
void token_stats(const T* x, std::int64_t n, double* out) {
  double largest = 0;
  double sum = 0;
  int nan_seen = 0;
#pragma omp simd reduction(max : largest) reduction(+ : sum) reduction(| : nan_seen)
  for (std::int64_t j = 0; j < n; ++j) {
    const double value = static_cast<double>(x[j]);
    const double magnitude = std::fabs(value);
    largest = magnitude > largest ? magnitude : largest;
    nan_seen |= value != value ? 1 : 0;
    sum += value;
  }
  const double mean = sum / static_cast<double>(n);
  double m2 = 0;
  double m3 = 0;
  double m4 = 0;
#pragma omp simd reduction(+ : m2, m3, m4)
  for (std::int64_t j = 0; j < n; ++j) {
    const double delta = static_cast<double>(x[j]) - mean;
    const double square = delta * delta;
    m2 += square;
    m3 += square * delta;
    m4 += square * square;
  }
  out[kMaxAbs] = nan_seen != 0 ? std::numeric_limits<double>::quiet_NaN() : largest;
  out[kMean] = mean;
  out[kM2] = m2;
  out[kM3] = m3;
  out[kM4] = m4;
}

void merge_tokens(const double* tokens, std::int64_t count, double size, double* out) {
  double largest = 0;
  double mean = 0;
  for (std::int64_t t = 0; t < count; ++t) {
    largest = max_or_nan(tokens[t * kActivationStats + kMaxAbs], largest);
    mean += tokens[t * kActivationStats + kMean];
  }
  mean /= static_cast<double>(count);
  out[kMaxAbs] = largest;
  out[kMean] = mean;
  std::fill(out + kM2, out + kActivationStats, 0.0);
  for (std::int64_t t = 0; t < count; ++t) {
    const double* token = tokens + t * kActivationStats;
    const double delta = token[kMean] - mean;
    const double square = delta * delta;
    out[kM2] += token[kM2] + size * square;
    out[kM3] += token[kM3] + 3 * delta * token[kM2] + size * square * delta;
    out[kM4] +=
        token[kM4] + 4 * delta * token[kM3] + 6 * square * token[kM2] + size * square * square;
  }
}

std::tuple<at::Tensor, at::Tensor> stats_cpu(const at::Tensor& input) {
  const auto x = input.contiguous();
  const auto batch = x.size(0);
  const auto length = x.size(1);
  const auto width = x.size(2);
  const auto options = x.options().dtype(at::kDouble);
  auto per_sequence = at::empty({batch, kActivationStats}, options);
  auto per_token = at::empty({batch, length, kActivationStats}, options);
  auto* tokens = per_token.mutable_data_ptr<double>();
  auto* sequences = per_sequence.mutable_data_ptr<double>();
  AT_DISPATCH_FLOATING_TYPES_AND2(
      at::kBFloat16, at::kHalf, x.scalar_type(), "oasis::activation_stats", [&] {
        const auto* values = x.const_data_ptr<scalar_t>();
        parallel_rows(batch * length, std::max<std::int64_t>(1, kElementsPerTask / width),
                      [&](std::int64_t begin, std::int64_t end) {
                        for (auto t = begin; t < end; ++t) {
                          token_stats(values + t * width, width, tokens + t * kActivationStats);
                        }
                      });
      });
  for (std::int64_t b = 0; b < batch; ++b) {
    merge_tokens(tokens + b * length * kActivationStats, length, static_cast<double>(width),
                 sequences + b * kActivationStats);
  }
  return {per_sequence, per_token};
}

// Central moment sums over the last dimension; the same merge as above, in LibTorch operators.
std::tuple<at::Tensor, at::Tensor> stats_composed(const at::Tensor& input) {
  const auto x = input.to(at::kDouble);
  const auto width = static_cast<double>(x.size(2));
  const auto largest = x.abs().amax({-1});
  const auto mean = x.mean({-1});
  const auto delta = x - mean.unsqueeze(-1);
  const auto square = delta * delta;
  const auto m2 = square.sum({-1});
  const auto m3 = (square * delta).sum({-1});
  const auto m4 = (square * square).sum({-1});
  const auto whole_mean = mean.mean({-1});
  const auto shift = mean - whole_mean.unsqueeze(-1);
  const auto shift2 = shift * shift;
  const auto whole_m2 = (m2 + width * shift2).sum({-1});
  const auto whole_m3 = (m3 + 3 * shift * m2 + width * shift2 * shift).sum({-1});
  const auto whole_m4 = (m4 + 4 * shift * m3 + 6 * shift2 * m2 + width * shift2 * shift2).sum({-1});
  return {at::stack({largest.amax({-1}), whole_mean, whole_m2, whole_m3, whole_m4}, -1),
          at::stack({largest, mean, m2, m3, m4}, -1)};
}

}  // namespace

std::tuple<at::Tensor, at::Tensor> activation_stats(const at::Tensor& x) {
  TORCH_CHECK(at::isFloatingType(x.scalar_type()),
              "oasis::activation_stats: x must have a floating type, not ", x.scalar_type());
  TORCH_CHECK(x.dim() == 3 && x.numel() > 0,
              "oasis::activation_stats: x must be [B,T,D] and not empty, got shape ", x.sizes());
  const auto values = x.detach();
  if (values.is_cpu()) return stats_cpu(values);
  if (values.is_cuda() && activation_stats_cuda != nullptr && values.scalar_type() != at::kDouble) {
    return activation_stats_cuda->run(values.contiguous());
  }
  return stats_composed(values);
}

TORCH_LIBRARY_FRAGMENT(oasis, library) {
  library.def("activation_stats(Tensor x) -> (Tensor per_sequence, Tensor per_token)",
              torch::dispatch(c10::DispatchKey::CompositeImplicitAutograd, activation_stats));
}

}  // namespace oasis
