// Outlier statistics of an activation in one pass over memory, accumulated in float64.
//
// Operator: oasis::activation_stats(Tensor x) -> (Tensor per_sequence, Tensor per_token)
#pragma once

#include <ATen/core/Tensor.h>

#include <tuple>

namespace oasis {

// Columns of both results: max|x|, the mean μ, and the central moment sums
// M_k = Σ (x − μ)^k for k = 2, 3, 4 (sums, not means: they merge exactly).
enum ActivationStat { kMaxAbs, kMean, kM2, kM3, kM4, kActivationStats };

// x [B,T,D], any floating type. per_sequence [B,5] over the T·D values of a sequence, per_token
// [B,T,5] over the D values of a token, both float64. The same for any number of threads. NaN and
// infinity show in the row they are in. Not recorded by autograd.
//
// Tokens merge into sequences by the pairwise formulas of Chan, Golub & LeVeque (1979) and Pébay
// (Sandia report SAND2008-6212), in the closed form for groups of equal size D with means μ_t:
// with δ_t = μ_t − μ,
//   M2 = Σ_t M2_t + D·δ_t²
//   M3 = Σ_t M3_t + 3·δ_t·M2_t + D·δ_t³
//   M4 = Σ_t M4_t + 4·δ_t·M3_t + 6·δ_t²·M2_t + D·δ_t⁴
std::tuple<at::Tensor, at::Tensor> activation_stats(const at::Tensor& x);

}  // namespace oasis
