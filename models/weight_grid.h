// The grid that a weight [N, K] is rounded to in simulated quantization (PROTOCOLS.md,
// Quantization): symmetric, ŵ = clamp(round(w/scale), −2^(b−1), 2^(b−1) − 1)·scale, rounding half
// to even.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string_view>

namespace oasis {

// How far a grid reaches: to max|w|, or to that of the 100 candidates i/100·max|w| whose squared
// error is least (the first of equals).
enum class WeightRange { kMinMax, kMse };
// What shares a scale: the whole weight, a row (an output channel), or 64 neighbours in a row (the
// last group may be short).
enum class WeightGrain { kTensor, kRow, kGroup };

WeightRange parse_weight_range(std::string_view name);  // min_max, mse; Error (bad input)
WeightGrain parse_weight_grain(std::string_view name);  // tensor, row, group; Error (bad input)

struct WeightGrid {
  WeightRange range = WeightRange::kMinMax;
  WeightGrain grain = WeightGrain::kTensor;
};

// Scales [1], [N] or [N, ⌈K/64⌉], at least 1e-12, in the weight's type. bits 2 to 16.
at::Tensor weight_scale(const at::Tensor& weight, int64_t bits, WeightGrid grid);

// The weight on its grid, of its own type. An all-zero weight stays as it is.
at::Tensor quantized_weight(const at::Tensor& weight, int64_t bits, WeightGrid grid);

}  // namespace oasis
