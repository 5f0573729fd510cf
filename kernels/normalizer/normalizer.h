// Normalisers: maps from a row of logits s to weights p ≥ 0, over tokens or over depth.
//
//   softmax          p_j = e^{s_j} / Σ e^{s}
//   softmax1         p_j = e^{s_j} / (1 + Σ e^{s})                 (Miller 2023; Hu et al. 2024)
//   clipped_softmax  p_j = clip((ζ − γ)·softmax(s)_j + γ, 0, 1)    (Bondarenko et al. 2023)
//   sparsemax        p_j = max(s_j − τ, 0), Σ p = 1                (Martins & Astudillo 2016)
//   entmax15         p_j = max(s_j/2 − τ, 0)², Σ p = 1             (Peters et al. 2019)
//
// The null posterior of a row is ρ = 1/(1 + Σ e^{s}) under softmax1 and exactly 0 under every other
// normaliser, clipped softmax included, though its rows do not sum to one.
//
// Gradients pass through the clip where the unclipped value lies in [0, 1], bounds included, as in
// torch.clamp; through sparsemax and entmax15 on the support {p > 0}.
//
// Operator: oasis::normalize(Tensor logits, str normalizer, float zeta=1.0, float gamma=0.0)
//             -> (Tensor probs, Tensor null_posterior)
#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>
#include <tuple>

namespace oasis {

enum class Normalizer { kSoftmax, kSoftmax1, kClippedSoftmax, kSparsemax, kEntmax15 };

struct NormalizerSpec {
  Normalizer kind = Normalizer::kSoftmax;
  double zeta = 1.0;   // clipped softmax only; ζ > γ
  double gamma = 0.0;  // clipped softmax only

  bool has_null() const { return kind == Normalizer::kSoftmax1; }
};

// Throws c10::Error for a name that is none of the five, and unless ζ > γ, both finite.
NormalizerSpec parse_normalizer(std::string_view name, double zeta = 1.0, double gamma = 0.0);

std::string_view normalizer_name(Normalizer kind);

// logits [..., n], any floating type (half types compute in float32); probs as logits,
// null_posterior [...] float32 (float64 for float64 logits). Differentiable, both outputs.
std::tuple<at::Tensor, at::Tensor> normalize(const at::Tensor& logits, const NormalizerSpec& spec);

// Its gradient, for operators that contain a normaliser: dL/dlogits from contiguous logits and
// probs (float32 or float64, one type for all), dL/dprobs, and dL/dρ (undefined: zero). Not
// recorded by autograd.
at::Tensor normalize_backward(const at::Tensor& logits, const at::Tensor& probs,
                              const at::Tensor& grad_probs, const at::Tensor& grad_null,
                              const NormalizerSpec& spec);

}  // namespace oasis
