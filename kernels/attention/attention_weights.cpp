#include <ATen/Dispatch.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros_like.h>
#include <torch/library.h>

#include <algorithm>
#include <limits>

#include "kernels/attention/attention.h"
#include "kernels/autograd.h"
#include "kernels/normalizer/composed.h"
#include "kernels/normalizer/row.h"
#include "kernels/parallel.h"

namespace oasis {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

constexpr std::int64_t kRowsPerTask = 32;

struct Result {
  at::Tensor probs;
  at::Tensor null_posterior;
};

Result forward_cpu(const at::Tensor& scores, const NormalizerSpec& spec) {
  const auto length = scores.size(-1);
  Result out{at::empty_like(scores),
             at::empty(scores.sizes().slice(0, scores.dim() - 1), scores.options())};
  AT_DISPATCH_FLOATING_TYPES(scores.scalar_type(), "oasis::attention_weights", [&] {
    const auto* from = scores.const_data_ptr<scalar_t>();
    auto* to = out.probs.mutable_data_ptr<scalar_t>();
    auto* rho = out.null_posterior.mutable_data_ptr<scalar_t>();
    parallel_rows(out.null_posterior.numel(), kRowsPerTask,
                  [&](std::int64_t begin, std::int64_t end) {
                    for (auto row = begin; row < end; ++row) {
                      const auto keys = row % length + 1;
                      const auto at = row * length;
                      rho[row] = normalize_row(spec, from + at, to + at, keys);
                      std::fill(to + at + keys, to + at + length, scalar_t(0));
                    }
                  });
  });
  return out;
}

at::Tensor backward_cpu(const at::Tensor& scores, const at::Tensor& probs,
                        const at::Tensor& grad_probs, const at::Tensor& grad_null,
                        const NormalizerSpec& spec) {
  const auto length = scores.size(-1);
  auto grad_scores = at::empty_like(scores);
  AT_DISPATCH_FLOATING_TYPES(scores.scalar_type(), "oasis::attention_weights_backward", [&] {
    const auto* from = scores.const_data_ptr<scalar_t>();
    const auto* p = probs.const_data_ptr<scalar_t>();
    const auto* dp = grad_probs.const_data_ptr<scalar_t>();
    const auto* drho = grad_null.defined() ? grad_null.const_data_ptr<scalar_t>() : nullptr;
    auto* to = grad_scores.mutable_data_ptr<scalar_t>();
    parallel_rows(scores.numel() / length, kRowsPerTask, [&](std::int64_t begin, std::int64_t end) {
      for (auto row = begin; row < end; ++row) {
        const auto keys = row % length + 1;
        const auto at = row * length;
        normalize_row_backward(spec, from + at, p + at, dp + at,
                               drho != nullptr ? drho[row] : scalar_t(0), to + at, keys);
        std::fill(to + at + keys, to + at + length, scalar_t(0));
      }
    });
  });
  return grad_scores;
}

at::Tensor masked(const at::Tensor& scores) {
  const auto positions = at::arange(scores.size(-1), scores.options().dtype(at::kLong));
  return scores.masked_fill(positions.unsqueeze(0) > positions.unsqueeze(1),
                            -std::numeric_limits<double>::infinity());
}

struct AttentionWeightsFunction : torch::autograd::Function<AttentionWeightsFunction> {
  static tensor_list forward(AutogradContext* context, const at::Tensor& scores,
                             const NormalizerSpec& spec) {
    auto x = in_compute_type(scores);
    Result out;
    if (x.is_cpu()) {
      out = forward_cpu(x, spec);
    } else {
      x = masked(x);
      const auto statistic = composed::row_statistic(spec, x);
      out.probs = composed::apply_statistic(spec, statistic, x);
      out.null_posterior = composed::null_posterior(spec, statistic).squeeze(-1);
    }
    context->save_for_backward({x, out.probs});
    save_normalizer(context, spec);
    context->saved_data["type"] = static_cast<std::int64_t>(scores.scalar_type());
    context->set_materialize_grads(false);
    return {out.probs.to(scores.scalar_type()), out.null_posterior};
  }

  static tensor_list backward(AutogradContext* context, const tensor_list& grads) {
    if (!grads[0].defined() && !grads[1].defined()) return {{}, {}};
    const auto saved = context->get_saved_variables();
    const auto& x = saved[0];
    const auto& probs = saved[1];
    const auto spec = saved_normalizer(context);
    const auto type = static_cast<at::ScalarType>(context->saved_data["type"].toInt());
    const auto grad_probs = grads[0].defined() ? in_compute_type(grads[0]) : at::zeros_like(probs);
    const auto grad_null = grads[1].defined() ? in_compute_type(grads[1]) : at::Tensor();
    const auto grad = x.is_cpu() ? backward_cpu(x, probs, grad_probs, grad_null, spec)
                                 : normalize_backward(x, probs, grad_probs, grad_null, spec);
    return {grad.to(type), {}};
  }
};

std::tuple<at::Tensor, at::Tensor> attention_weights_operator(const at::Tensor& scores,
                                                              std::string_view normalizer,
                                                              double zeta, double gamma) {
  return attention_weights(scores, parse_normalizer(normalizer, zeta, gamma));
}

}  // namespace

std::tuple<at::Tensor, at::Tensor> attention_weights(const at::Tensor& scores,
                                                     const NormalizerSpec& spec) {
  TORCH_CHECK(at::isFloatingType(scores.scalar_type()),
              "oasis::attention_weights: scores must have a floating type, not ",
              scores.scalar_type());
  TORCH_CHECK(scores.dim() >= 2 && scores.size(-1) == scores.size(-2) && scores.numel() > 0,
              "oasis::attention_weights: scores must be [...,T,T] and not empty, got shape ",
              scores.sizes());
  const auto outputs = AttentionWeightsFunction::apply(scores, spec);
  return {outputs[0], outputs[1]};
}

TORCH_LIBRARY_FRAGMENT(oasis, library) {
  library.def(
      "attention_weights(Tensor scores, str normalizer, float zeta=1.0, float gamma=0.0) -> "
      "(Tensor probs, Tensor null_posterior)",
      torch::dispatch(c10::DispatchKey::CompositeImplicitAutograd, attention_weights_operator));
}

}  // namespace oasis
