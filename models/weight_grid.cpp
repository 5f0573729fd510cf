#include "models/weight_grid.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/round.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "kernels/fake_quantize/fake_quantize.h"
#include "kernels/integer_linear/integer_linear.h"
#include "support/error.h"
#include "support/text.h"

namespace oasis {
namespace {

constexpr int kCandidates = 100;
constexpr double kLeastScale = 1e-12;

template <typename Choice>
Choice parse(std::string_view what, std::string_view name, const std::vector<std::string>& names) {
  const auto found = std::ranges::find(names, name);
  if (found == names.end()) {
    throw bad_input("unknown {} '{}'{}; known: {}", what, name, suggestion(name, names),
                    join(names, ", "));
  }
  return static_cast<Choice>(found - names.begin());
}

// [1, N·K], [N, K] or [N·G, 64] with zeros beyond K: a row for each scale.
at::Tensor by_scale(const at::Tensor& weight, WeightGrain grain) {
  if (grain == WeightGrain::kTensor) return weight.reshape({1, -1});
  if (grain == WeightGrain::kRow) return weight;
  const int64_t missing = (kWeightGroup - weight.size(1) % kWeightGroup) % kWeightGroup;
  return at::constant_pad_nd(weight, {0, missing}).reshape({-1, kWeightGroup});
}

at::Tensor rounded(const at::Tensor& rows, const at::Tensor& scale, int64_t bits) {
  const double most = std::ldexp(1.0, static_cast<int>(bits) - 1);
  return at::clamp(at::round(rows / scale), -most, most - 1) * scale;
}

// [rows, 1]
at::Tensor scale_of(const at::Tensor& rows, int64_t bits, WeightRange range) {
  const double codes = std::ldexp(1.0, static_cast<int>(bits) - 1) - 1;
  const auto largest = at::amax(rows.abs(), {1}, /*keepdim=*/true) / codes;
  if (range == WeightRange::kMinMax) return largest.clamp_min(kLeastScale);
  auto best = largest.clamp_min(kLeastScale);
  auto least = at::full_like(best, std::numeric_limits<double>::infinity());
  for (int i = 1; i <= kCandidates; ++i) {
    const auto scale = (largest * (static_cast<double>(i) / kCandidates)).clamp_min(kLeastScale);
    const auto error = (rounded(rows, scale, bits) - rows).square().sum(1, /*keepdim=*/true);
    const auto better = error < least;
    best = at::where(better, scale, best);
    least = at::where(better, error, least);
  }
  return best;
}

}  // namespace

WeightRange parse_weight_range(std::string_view name) {
  return parse<WeightRange>("range of weights", name, {"min_max", "mse"});
}

WeightGrain parse_weight_grain(std::string_view name) {
  return parse<WeightGrain>("grain of weights", name, {"tensor", "row", "group"});
}

at::Tensor weight_scale(const at::Tensor& weight, int64_t bits, WeightGrid grid) {
  const auto scale = scale_of(by_scale(weight, grid.grain), bits, grid.range);
  return grid.grain == WeightGrain::kGroup ? scale.reshape({weight.size(0), -1}) : scale.flatten();
}

at::Tensor quantized_weight(const at::Tensor& weight, int64_t bits, WeightGrid grid) {
  if (grid.range == WeightRange::kMinMax && grid.grain == WeightGrain::kTensor) {
    return fake_quantize_weight(weight, bits);
  }
  const auto rows = by_scale(weight, grid.grain);
  const auto result = rounded(rows, scale_of(rows, bits, grid.range), bits);
  if (grid.grain != WeightGrain::kGroup) return result.reshape(weight.sizes());
  return result.reshape({weight.size(0), -1}).narrow(1, 0, weight.size(1)).contiguous();
}

}  // namespace oasis
