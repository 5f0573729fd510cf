// Simulated quantization: values are rounded to the b-bit grid and stay floating point.
//
// Activations, asymmetric, per tensor, for a range [lo, hi] that is first widened to hold 0:
//   scale = max((hi − lo)/(2^b − 1), 1e-12),   zero = round(−lo/scale)
//   code  = clamp(round(x/scale) + zero, 0, 2^b − 1),   x̂ = (code − zero)·scale
// Weights, symmetric, per tensor:
//   scale = max|w|/(2^(b−1) − 1),   ŵ = clamp(round(w/scale), −2^(b−1), 2^(b−1) − 1)·scale
// All rounding is half to even. The gradient passes straight through where the unclamped code lies
// within the range (bounds included), and is zero elsewhere.
//
// Operators: oasis::fake_quantize(Tensor x, float lo, float hi, int bits) -> Tensor
//            oasis::fake_quantize_weight(Tensor weight, int bits) -> Tensor
//            oasis::percentile_range(Tensor x, float lower, float upper) -> Tensor
#pragma once

#include <ATen/core/Tensor.h>

namespace oasis {

// x of any shape and floating type; computes in x's type (half types in float32). bits 2 to 16;
// lo and hi finite.
at::Tensor fake_quantize(const at::Tensor& x, double lo, double hi, int64_t bits);

// An all-zero weight stays as it is.
at::Tensor fake_quantize_weight(const at::Tensor& weight, int64_t bits);

// The `lower` and `upper` percentiles of all values of x, given as shares (0.99999, not 99.999), as
// float64 [2] on x's device: linear interpolation between order statistics, NumPy's default. NaN
// anywhere gives NaN for both. Not recorded by autograd.
at::Tensor percentile_range(const at::Tensor& x, double lower, double upper);

}  // namespace oasis
