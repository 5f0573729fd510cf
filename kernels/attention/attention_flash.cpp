// softmax and Softmax1 attention from LibTorch's flash kernels, which return lse = log Σ e^{s}.
//
// Softmax1 from softmax (Σ e^{s} gains the null option's 1):
//   context = σ(lse)·o,   ρ = σ(−lse),   log(1 + Σ e^{s}) = softplus(lse).
// Its backward pass is the same flash backward, fed context and softplus(lse): it computes
//   dS = P ∘ (dO·Vᵀ − D),   D_t = dO_t·out_t
// and the gradient through ρ asks for ρ_t·∂L/∂ρ_t more in D_t. The kernel computes D itself from
// the `out` that it is given, so it is given another:
//   out'_t = context_t + (ρ_t·∂L/∂ρ_t / ‖dO_t‖²)·dO_t.
// Rows whose dO is zero, or so small that its square vanishes, are dealt with below.
#include <ATen/TensorOperators.h>
#include <ATen/ops/_scaled_dot_product_flash_attention.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_backward.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>
#include <ATen/ops/addcmul.h>
#include <ATen/ops/logaddexp.h>
#include <ATen/ops/logical_and.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "kernels/attention/attention_paths.h"

namespace oasis::attention_paths {
namespace {

// Order of Forward::saved. The last four only on CUDA.
enum Saved { kContext, kLse, kCumulativeQ, kCumulativeK, kSeed, kOffset };

at::Tensor with_unit_stride(const at::Tensor& x) {
  return x.stride(-1) == 1 ? x : x.contiguous();
}

Gradients library_backward(const Problem& problem, const std::vector<at::Tensor>& saved,
                           const at::Tensor& v, const at::Tensor& grad_out, const at::Tensor& out,
                           const at::Tensor& lse) {
  const auto q = with_unit_stride(problem.q);
  const auto k = with_unit_stride(problem.k);
  Gradients grads;
  if (q.is_cpu()) {
    std::tie(grads.q, grads.k, grads.v) = at::_scaled_dot_product_flash_attention_for_cpu_backward(
        grad_out, q, k, v, out, lse, /*dropout_p=*/0.0, /*is_causal=*/true, {}, problem.scale);
  } else {
    std::tie(grads.q, grads.k, grads.v) = at::_scaled_dot_product_flash_attention_backward(
        grad_out, q, k, v, out, lse, saved[kCumulativeQ], saved[kCumulativeK], q.size(2), k.size(2),
        /*dropout_p=*/0.0, /*is_causal=*/true, saved[kSeed], saved[kOffset], problem.scale);
  }
  return grads;
}

// Below this ‖dO‖², squares of a row's elements are lost to underflow.
double tiny_square(at::ScalarType type) {
  return type == at::kDouble ? 1e-280 : 1e-30;
}

// Row products stand in D for rows that have no dO of their own: with V = 0 and an `out` and dO
// whose product is `term` along the first coordinate, the kernel computes dS = −P·term. It gives
// the gradients of q and k; v has none.
Gradients backward_of_row_term(const Problem& problem, const std::vector<at::Tensor>& saved,
                               const at::Tensor& term, const at::Tensor& lse) {
  auto grad_out = at::zeros_like(saved[kContext]);
  grad_out.select(-1, 0).copy_(term != 0);
  auto out = at::zeros_like(grad_out);
  out.select(-1, 0).copy_(term);
  return library_backward(problem, saved, at::zeros_like(problem.v), grad_out, out, lse);
}

}  // namespace

bool flash_serves(const Problem& problem) {
  if (problem.spec.kind != Normalizer::kSoftmax && problem.spec.kind != Normalizer::kSoftmax1) {
    return false;
  }
  const auto type = problem.q.scalar_type();
  const auto head_size = problem.q.size(3);
  if (problem.q.is_cpu()) return type == at::kFloat || type == at::kDouble;
  return (type == at::kBFloat16 || type == at::kHalf) && head_size % 8 == 0 && head_size <= 256;
}

Forward flash_forward(const Problem& problem) {
  const auto q = with_unit_stride(problem.q);
  const auto k = with_unit_stride(problem.k);
  const auto v = with_unit_stride(problem.v);
  at::Tensor out;
  at::Tensor lse;
  std::vector<at::Tensor> saved;
  if (q.is_cpu()) {
    std::tie(out, lse) = at::_scaled_dot_product_flash_attention_for_cpu(
        q, k, v, /*dropout_p=*/0.0, /*is_causal=*/true, {}, problem.scale);
    saved = {out, lse};
  } else {
    auto result = at::_scaled_dot_product_flash_attention(
        q, k, v, /*dropout_p=*/0.0, /*is_causal=*/true, /*return_debug_mask=*/false, problem.scale);
    out = std::get<0>(result);
    lse = std::get<1>(result);
    saved = {out,
             lse,
             std::get<2>(result),
             std::get<3>(result),
             std::get<6>(result),
             std::get<7>(result)};
  }
  if (!problem.spec.has_null()) return {out, at::zeros_like(lse), saved};
  out.mul_(at::sigmoid(lse).unsqueeze(-1));
  return {out, at::sigmoid(-lse), saved};
}

Gradients flash_backward(const Problem& problem, const std::vector<at::Tensor>& saved,
                         const at::Tensor& grad_context, const at::Tensor& grad_null) {
  const auto v = with_unit_stride(problem.v);
  const auto& context = saved[kContext];
  auto grad_out = grad_context.defined() ? grad_context.contiguous() : at::zeros_like(context);
  if (!problem.spec.has_null()) {
    return library_backward(problem, saved, v, grad_out, context, saved[kLse]);
  }

  const auto& lse = saved[kLse];
  const auto lse1 = at::logaddexp(lse, at::zeros({}, lse.options()));
  if (!grad_null.defined()) return library_backward(problem, saved, v, grad_out, context, lse1);

  const auto term = at::sigmoid(-lse) * grad_null;  // what D_t lacks
  const auto square = at::sum(grad_out * grad_out, {-1}, /*keepdim=*/false, lse.scalar_type());
  const auto tiny = square < tiny_square(lse.scalar_type());
  const auto share = at::where(tiny, 0.0, term / square).unsqueeze(-1);
  auto out = at::addcmul(context, grad_out, share.to(context.scalar_type()));

  const auto orphan = at::where(tiny, term, 0.0);
  if (problem.q.is_cpu()) {
    auto grads = library_backward(problem, saved, v, grad_out, out, lse1);
    if (orphan.count_nonzero().item<std::int64_t>() > 0) {
      const auto more = backward_of_row_term(problem, saved, orphan, lse1);
      grads.q.add_(more.q);
      grads.k.add_(more.k);
    }
    return grads;
  }
  // On CUDA without asking the device: such rows get a dO small beside their row term (below the
  // rounding of the half types) and the `out` that makes up the product.
  const double stretch = context.scalar_type() == at::kHalf ? 0x1p12 : 0x1p20;
  const auto stand_in = logical_and(tiny, term != 0);
  const auto put_first = [&](at::Tensor& tensor, const at::Tensor& value) {
    auto first = tensor.select(-1, 0);
    first.copy_(at::where(stand_in, value, first.to(value.scalar_type())));
  };
  grad_out = grad_out.clone();
  put_first(grad_out, orphan / stretch);
  put_first(out, at::zeros_like(orphan) + stretch);
  return library_backward(problem, saved, v, grad_out, out, lse1);
}

}  // namespace oasis::attention_paths
