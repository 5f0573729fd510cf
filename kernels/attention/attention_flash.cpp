// softmax and Softmax1 attention from the libraries' fused kernels, which return lse = log Σ e^{s}:
// on CUDA cuDNN's and flash attention's, on the CPU LibTorch's flash kernel.
//
// Softmax1 from softmax (Σ e^{s} gains the null option's 1):
//   context = σ(lse)·o,   ρ = σ(−lse),   log(1 + Σ e^{s}) = softplus(lse).
// Its backward pass is the same library backward, fed context and softplus(lse): it computes
//   dS = P ∘ (dO·Vᵀ − D),   D_t = dO_t·out_t
// and the gradient through ρ asks for ρ_t·∂L/∂ρ_t more in D_t. The kernel computes D itself from
// the `out` that it is given, so it is given another:
//   out'_t = context_t + (ρ_t·∂L/∂ρ_t / ‖dO_t‖²)·dO_t.
// Rows whose dO is zero, or so small that its square vanishes, have nothing to carry their term. On
// CUDA, where the device cannot be asked whether there are any, they get a dO small beside the term
// (below the rounding of the half types) for as long as the kernel runs, and the out' that makes up
// the product.
#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/_scaled_dot_product_cudnn_attention.h>
#include <ATen/ops/_scaled_dot_product_cudnn_attention_backward.h>
#include <ATen/ops/_scaled_dot_product_flash_attention.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_backward.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>
#include <ATen/ops/addcmul.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/logaddexp.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "kernels/attention/attention_paths.h"
#include "kernels/attention/softmax1_cuda.h"

namespace oasis {

const Softmax1Cuda* softmax1_cuda = nullptr;

}  // namespace oasis

namespace oasis::attention_paths {
namespace {

// Order of Forward::saved. The log-sum-exp is Softmax1's own where that is the normaliser, and only
// then there is a null posterior.
enum Saved { kContext, kLse, kNullPosterior };

at::Tensor with_unit_stride(const at::Tensor& x) {
  return x.stride(-1) == 1 ? x : x.contiguous();
}

// cuDNN makes a plan for every shape that it meets, which pays for lengths that come again, as in
// training; the multiple leaves out the lengths of single texts. Its backward pass adds up in an
// order that varies.
bool cudnn_serves(const at::Tensor& q) {
  constexpr int64_t kLengthMultiple = 128, kLargestHead = 128;
  return q.is_cuda() && q.size(2) % kLengthMultiple == 0 && q.size(3) <= kLargestHead &&
         at::globalContext().userEnabledCuDNNSDP() &&
         !at::globalContext().deterministicAlgorithms();
}

// Output [B,H,T,d] and log-sum-exp [B,H,T] of softmax attention.
std::pair<at::Tensor, at::Tensor> library_forward(const Problem& problem) {
  const auto q = with_unit_stride(problem.q);
  const auto k = with_unit_stride(problem.k);
  const auto v = with_unit_stride(problem.v);
  if (q.is_cpu()) {
    const auto result = at::_scaled_dot_product_flash_attention_for_cpu(
        q, k, v, /*dropout_p=*/0.0, /*is_causal=*/true, {}, problem.scale);
    return {std::get<0>(result), std::get<1>(result)};
  }
  if (cudnn_serves(q)) {
    const auto result = at::_scaled_dot_product_cudnn_attention(
        q, k, v, /*attn_bias=*/{}, /*compute_log_sumexp=*/true, /*dropout_p=*/0.0,
        /*is_causal=*/true, /*return_debug_mask=*/false, problem.scale);
    return {std::get<0>(result), std::get<1>(result).squeeze(-1).contiguous()};
  }
  const auto result = at::_scaled_dot_product_flash_attention(
      q, k, v, /*dropout_p=*/0.0, /*is_causal=*/true, /*return_debug_mask=*/false, problem.scale);
  return {std::get<0>(result), std::get<1>(result).contiguous()};
}

Gradients library_backward(const Problem& problem, const at::Tensor& v, const at::Tensor& grad_out,
                           const at::Tensor& out, const at::Tensor& lse) {
  const auto q = with_unit_stride(problem.q);
  const auto k = with_unit_stride(problem.k);
  const int64_t T = q.size(2);
  Gradients grads;
  if (q.is_cpu()) {
    std::tie(grads.q, grads.k, grads.v) = at::_scaled_dot_product_flash_attention_for_cpu_backward(
        grad_out, q, k, v, out, lse, /*dropout_p=*/0.0, /*is_causal=*/true, {}, problem.scale);
    return grads;
  }
  // Dropout's, which nobody reads.
  const auto seed = at::empty({2}, q.options().dtype(at::kUInt64));
  if (cudnn_serves(q)) {
    std::tie(grads.q, grads.k, grads.v) = at::_scaled_dot_product_cudnn_attention_backward(
        grad_out, q, k, v, out, lse.unsqueeze(-1), seed, seed, /*attn_bias=*/{}, {}, {}, T, T,
        /*dropout_p=*/0.0, /*is_causal=*/true, problem.scale);
  } else {
    std::tie(grads.q, grads.k, grads.v) = at::_scaled_dot_product_flash_attention_backward(
        grad_out, q, k, v, out, lse, {}, {}, T, T, /*dropout_p=*/0.0, /*is_causal=*/true, seed,
        seed, problem.scale);
  }
  return grads;
}

// The layout that attention.h promises.
at::Tensor token_major(const at::Tensor& context) {
  return context.transpose(1, 2).contiguous().transpose(1, 2);
}

// Below this ‖dO‖², squares of a row's elements are lost to underflow.
double tiny_square(at::ScalarType type) {
  return type == at::kDouble ? 1e-280 : 1e-30;
}

// Row products stand in D for rows that have no dO of their own: with V = 0 and an `out` and dO
// whose product is `term` along the first coordinate, the kernel computes dS = −P·term. It gives
// the gradients of q and k; v has none.
void add_row_term(const Problem& problem, const at::Tensor& term, const at::Tensor& lse,
                  Gradients& grads) {
  auto grad_out = at::zeros_like(problem.q);
  grad_out.select(-1, 0).copy_(term != 0);
  auto out = at::zeros_like(grad_out);
  out.select(-1, 0).copy_(term);
  const auto more = library_backward(problem, at::zeros_like(problem.v), grad_out, out, lse);
  grads.q.add_(more.q);
  grads.k.add_(more.k);
}

Gradients softmax1_backward_cpu(const Problem& problem, const std::vector<at::Tensor>& saved,
                                const at::Tensor& grad_out, const at::Tensor& grad_null) {
  const auto& lse = saved[kLse];
  const auto term = saved[kNullPosterior] * grad_null;  // what D_t lacks
  const auto square = at::sum(grad_out * grad_out, {-1});
  const auto tiny = square < tiny_square(square.scalar_type());
  const auto share = at::where(tiny, 0.0, term / square).unsqueeze(-1);
  const auto out = at::addcmul(saved[kContext], grad_out, share);
  auto grads = library_backward(problem, problem.v, grad_out, out, lse);
  const auto orphan = at::where(tiny, term, 0.0);
  if (orphan.count_nonzero().item<std::int64_t>() > 0) add_row_term(problem, orphan, lse, grads);
  return grads;
}

}  // namespace

bool flash_serves(const Problem& problem) {
  if (problem.spec.kind != Normalizer::kSoftmax && problem.spec.kind != Normalizer::kSoftmax1) {
    return false;
  }
  const auto type = problem.q.scalar_type();
  const auto head_size = problem.q.size(3);
  if (problem.q.is_cpu()) return type == at::kFloat || type == at::kDouble;
  if (problem.spec.has_null() && softmax1_cuda == nullptr) return false;
  return (type == at::kBFloat16 || type == at::kHalf) && head_size % 8 == 0 && head_size <= 256;
}

Forward flash_forward(const Problem& problem) {
  const auto [out, lse] = library_forward(problem);
  if (!problem.spec.has_null()) {
    const auto context = token_major(out);
    return {context, at::zeros_like(lse), {context, lse, {}}};
  }
  if (out.is_cuda()) {
    const auto [context, null_posterior, lse1] = softmax1_cuda->forward(out, lse);
    return {context, null_posterior, {context, lse1, null_posterior}};
  }
  out.mul_(at::sigmoid(lse).unsqueeze(-1));
  const auto null_posterior = at::sigmoid(-lse);
  const auto lse1 = at::logaddexp(lse, at::zeros({}, lse.options()));
  return {out, null_posterior, {out, lse1, null_posterior}};
}

Gradients flash_backward(const Problem& problem, const std::vector<at::Tensor>& saved,
                         const at::Tensor& grad_context, const at::Tensor& grad_null) {
  const auto& context = saved[kContext];
  // In the context's own layout, which cuDNN wants of it, and in whole packs of 16 bytes.
  auto grad_out = grad_context;
  if (!grad_out.defined()) {
    grad_out = at::zeros_like(context);
  } else if (grad_out.strides() != context.strides() || grad_out.storage_offset() % 8 != 0) {
    grad_out = at::empty_like(context).copy_(grad_out);
  }
  const auto v = with_unit_stride(problem.v);
  const auto& lse = saved[kLse];
  if (!problem.spec.has_null() || !grad_null.defined()) {
    return library_backward(problem, v, grad_out, context, lse);
  }
  if (context.is_cpu()) return softmax1_backward_cpu(problem, saved, grad_out, grad_null);
  const auto [out, replaced] =
      softmax1_cuda->backward(context, saved[kNullPosterior], grad_out, grad_null.contiguous());
  auto grads = library_backward(problem, v, grad_out, out, lse);
  softmax1_cuda->restore(grad_out, replaced);
  return grads;
}

}  // namespace oasis::attention_paths
