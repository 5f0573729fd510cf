// Rotary position embedding (Su et al. 2021) in Hugging Face's rotate-half convention: with
// half = d/2 and angle φ_i = (offset + t)·theta^(−2i/d)/divisors_i,
//   y_i        = magnitude·(x_i cos φ_i − x_{i+half} sin φ_i)
//   y_{i+half} = magnitude·(x_{i+half} cos φ_i + x_i sin φ_i)
// Divisors and magnitude are those of context extension (models/rope_scaling.h).
//
// Operators: oasis::rope(Tensor x, float theta, int offset=0, float[] divisors=[],
//                        float magnitude=1.0) -> Tensor
//            oasis::rms_norm_rope(Tensor x, Tensor weight, float eps, float theta, int offset=0,
//                                 float[] divisors=[], float magnitude=1.0) -> Tensor
// x [B, H, T, d], d even, any strides with unit stride in d; the result keeps x's strides. divisors
// holds d/2 numbers, or none for ones. Angles are computed in float64 and rounded once.
// Differentiable in x (the transposed rotation) and weight.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace oasis {

at::Tensor rope(const at::Tensor& x, double theta, int64_t offset = 0,
                at::ArrayRef<double> divisors = {}, double magnitude = 1.0);

// rope(rms_norm(x, weight, eps)), weight [d]: a head's QK norm and its rotation, one pass on the
// GPU.
at::Tensor rms_norm_rope(const at::Tensor& x, const at::Tensor& weight, double eps, double theta,
                         int64_t offset = 0, at::ArrayRef<double> divisors = {},
                         double magnitude = 1.0);

// Positions of their own for every sequence, as in decoding: sequence b begins at first[b], and
// angle φ_i = (first_b + t)·theta^(−2i/d)/divisors_i.
struct SequencePositions {
  at::Tensor first;   // int64 [B], contiguous, on x's device, >= 0
  int64_t limit = 0;  // no position reaches it; the GPU takes the last one below for those that do
};

// rope, behind an RMSNorm of each head where `gain` [d] is defined. Not differentiable.
at::Tensor rope_at(const at::Tensor& x, const at::Tensor& gain, double eps, double theta,
                   const SequencePositions& positions, at::ArrayRef<double> divisors = {},
                   double magnitude = 1.0);

}  // namespace oasis
