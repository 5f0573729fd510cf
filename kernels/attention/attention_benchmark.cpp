// Causal attention, forward and backward; under Softmax1 with the gradient through ρ.
#include <ATen/TensorOperators.h>
#include <ATen/ops/_scaled_dot_product_cudnn_attention.h>
#include <ATen/ops/_scaled_dot_product_flash_attention.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/triu.h>
#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "kernels/attention/attention.h"
#include "kernels/benchmark/case.h"
#include "kernels/benchmark/eager.h"

namespace oasis::bench {
namespace {

struct Shape {
  std::int64_t B, H, T, d;
  double scale() const { return 1 / std::sqrt(static_cast<double>(d)); }
};

std::vector<Shape> shapes(const Target& target) {
  if (target.cuda() && !target.quick)
    return {{64, 32, 512, 64}, {16, 32, 2048, 64}, {8, 32, 4096, 64}};
  if (target.cuda()) return {{8, 8, 512, 64}};
  if (!target.quick) return {{2, 8, 512, 64}, {1, 8, 2048, 64}};
  return {{1, 4, 256, 64}};
}

Tensors eager(const Tensors& in, const NormalizerSpec& spec, double scale) {
  const auto length = in[0].size(2);
  const auto scores = wide(at::matmul(in[0], in[1].transpose(-1, -2)) * scale);
  const auto later = at::triu(
      at::ones({length, length}, scores.options().dtype(at::kBool).requires_grad(false)), 1);
  const auto masked = scores.masked_fill(later, -std::numeric_limits<double>::infinity());
  const auto weights = eager_normalize(masked, spec);
  const auto context = at::matmul(weights.probs.to(in[2].scalar_type()), in[2]);
  return spec.has_null() ? Tensors{context, weights.null_posterior} : Tensors{context};
}

Tensors ours(const Tensors& in, const NormalizerSpec& spec, double scale) {
  const auto [context, null_posterior] = attention(in[0], in[1], in[2], spec, scale);
  return spec.has_null() ? Tensors{context, null_posterior} : Tensors{context};
}

// Plain softmax, whatever the normaliser: what libraries are fast at.
std::vector<Library> libraries(const Target& target, at::ScalarType type, double scale) {
  if (!target.cuda() || type == at::kFloat) {
    return {{"SDPA softmax", [scale](const Tensors& in) {
               return Tensors{at::scaled_dot_product_attention(in[0], in[1], in[2], {}, 0.0,
                                                               /*is_causal=*/true, scale)};
             }}};
  }
  return {{"SDPA softmax, flash",
           [scale](const Tensors& in) {
             return Tensors{std::get<0>(at::_scaled_dot_product_flash_attention(
                 in[0], in[1], in[2], 0.0, /*is_causal=*/true, false, scale))};
           }},
          {"SDPA softmax, cuDNN", [scale](const Tensors& in) {
             return Tensors{std::get<0>(at::_scaled_dot_product_cudnn_attention(
                 in[0], in[1], in[2], {}, /*compute_log_sumexp=*/true, 0.0, /*is_causal=*/true,
                 false, scale))};
           }}};
}

Case make_case(const Shape& s, Normalizer kind, at::ScalarType type, const Target& target) {
  // The published constants of clipped softmax: ζ = 1, γ = −12/T.
  const bool clipped = kind == Normalizer::kClippedSoftmax;
  const NormalizerSpec spec{kind, 1.0, clipped ? -12.0 / static_cast<double>(s.T) : 0.0};
  Case c;
  c.operation = "attention";
  c.variant = normalizer_name(kind);
  c.shape = fmt::format("B{} H{} T{} d{}", s.B, s.H, s.T, s.d);
  c.dtype = type;
  c.draw = [=] {
    Tensors in;  // as a model's projections leave them: [B,T,H,d] in memory
    for (const std::uint64_t seed : {1, 2, 3}) {
      in.push_back(draw({s.B, s.T, s.H, s.d}, type, target, seed).transpose(1, 2));
    }
    return in;
  };
  const double scale = s.scale();
  c.ours = [=](const Tensors& in) { return ours(in, spec, scale); };
  c.eager = [=](const Tensors& in) { return eager(in, spec, scale); };
  c.libraries = libraries(target, type, scale);
  c.input_batch = {1, 1, 1};
  c.output_batch = {1};
  if (spec.has_null()) c.output_batch.push_back(1);
  c.checked_batch = 2;
  // q, k, v, context; and again with their gradients in the backward pass.
  const auto size = static_cast<double>(s.B * s.H * s.T * s.d);
  c.bytes = 12 * size * bytes_of(type);
  // Two products forward and five backward over half of the T×T pairs.
  c.flops = 7 * size * static_cast<double>(s.T);
  return c;
}

}  // namespace

std::vector<Case> attention_cases(const Target& target) {
  std::vector<Case> cases;
  for (const auto type : target.dtypes()) {
    for (const auto& shape : shapes(target)) {
      for (const auto kind :
           {Normalizer::kSoftmax, Normalizer::kSoftmax1, Normalizer::kClippedSoftmax,
            Normalizer::kSparsemax, Normalizer::kEntmax15}) {
        cases.push_back(make_case(shape, kind, type, target));
      }
    }
  }
  return cases;
}

}  // namespace oasis::bench
