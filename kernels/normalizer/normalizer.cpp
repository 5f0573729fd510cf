#include "kernels/normalizer/normalizer.h"

#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros_like.h>
#include <torch/library.h>

#include <cmath>
#include <string>

#include "kernels/autograd.h"
#include "kernels/normalizer/composed.h"
#include "kernels/normalizer/row.h"
#include "kernels/parallel.h"

namespace oasis {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

constexpr std::int64_t kElementsPerTask = 16384;

std::int64_t rows_per_task(std::int64_t n) {
  return std::max<std::int64_t>(1, kElementsPerTask / n);
}

std::tuple<at::Tensor, at::Tensor> forward_cpu(const at::Tensor& logits,
                                               const NormalizerSpec& spec) {
  auto probs = at::empty_like(logits);
  auto null = at::empty(logits.sizes().slice(0, logits.dim() - 1), logits.options());
  const auto n = logits.size(-1);
  AT_DISPATCH_FLOATING_TYPES(logits.scalar_type(), "oasis::normalize", [&] {
    const auto* from = logits.const_data_ptr<scalar_t>();
    auto* to = probs.mutable_data_ptr<scalar_t>();
    auto* rho = null.mutable_data_ptr<scalar_t>();
    parallel_rows(null.numel(), rows_per_task(n), [&](std::int64_t begin, std::int64_t end) {
      for (auto row = begin; row < end; ++row) {
        rho[row] = normalize_row(spec, from + row * n, to + row * n, n);
      }
    });
  });
  return {probs, null};
}

at::Tensor backward_cpu(const at::Tensor& logits, const at::Tensor& probs,
                        const at::Tensor& grad_probs, const at::Tensor& grad_null,
                        const NormalizerSpec& spec) {
  auto grad_logits = at::empty_like(logits);
  const auto n = logits.size(-1);
  AT_DISPATCH_FLOATING_TYPES(logits.scalar_type(), "oasis::normalize", [&] {
    const auto* from = logits.const_data_ptr<scalar_t>();
    const auto* p = probs.const_data_ptr<scalar_t>();
    const auto* dp = grad_probs.const_data_ptr<scalar_t>();
    const auto* drho = grad_null.defined() ? grad_null.const_data_ptr<scalar_t>() : nullptr;
    auto* to = grad_logits.mutable_data_ptr<scalar_t>();
    parallel_rows(logits.numel() / n, rows_per_task(n), [&](std::int64_t begin, std::int64_t end) {
      for (auto row = begin; row < end; ++row) {
        const auto at = row * n;
        normalize_row_backward(spec, from + at, p + at, dp + at,
                               drho != nullptr ? drho[row] : scalar_t(0), to + at, n);
      }
    });
  });
  return grad_logits;
}

struct NormalizeFunction : torch::autograd::Function<NormalizeFunction> {
  static tensor_list forward(AutogradContext* context, const at::Tensor& logits,
                             const NormalizerSpec& spec) {
    const auto x = in_compute_type(logits);
    at::Tensor probs;
    at::Tensor null;
    if (x.is_cpu()) {
      std::tie(probs, null) = forward_cpu(x, spec);
    } else {
      const auto statistic = composed::row_statistic(spec, x);
      probs = composed::apply_statistic(spec, statistic, x);
      null = composed::null_posterior(spec, statistic).squeeze(-1);
    }
    context->save_for_backward({x, probs});
    save_normalizer(context, spec);
    context->saved_data["dtype"] = static_cast<std::int64_t>(logits.scalar_type());
    return {probs.to(logits.scalar_type()), null};
  }

  static tensor_list backward(AutogradContext* context, const tensor_list& grads) {
    const auto saved = context->get_saved_variables();
    const auto& x = saved[0];
    const auto& probs = saved[1];
    const auto spec = saved_normalizer(context);
    const auto dtype = static_cast<at::ScalarType>(context->saved_data["dtype"].toInt());
    const auto grad_probs = grads[0].defined() ? in_compute_type(grads[0]) : at::zeros_like(probs);
    const auto grad_null = grads[1].defined() ? in_compute_type(grads[1]) : at::Tensor();
    const auto grad = normalize_backward(x, probs, grad_probs, grad_null, spec);
    return {grad.to(dtype), {}};
  }
};

std::tuple<at::Tensor, at::Tensor> normalize_operator(const at::Tensor& logits,
                                                      std::string_view normalizer, double zeta,
                                                      double gamma) {
  return normalize(logits, parse_normalizer(normalizer, zeta, gamma));
}

}  // namespace

NormalizerSpec parse_normalizer(std::string_view name, double zeta, double gamma) {
  for (const auto kind : {Normalizer::kSoftmax, Normalizer::kSoftmax1, Normalizer::kClippedSoftmax,
                          Normalizer::kSparsemax, Normalizer::kEntmax15}) {
    if (name != normalizer_name(kind)) continue;
    TORCH_CHECK(std::isfinite(zeta) && std::isfinite(gamma) && zeta > gamma, "oasis: normalizer '",
                name, "': zeta must exceed gamma, both finite; got zeta ", zeta, ", gamma ", gamma);
    return {kind, zeta, gamma};
  }
  TORCH_CHECK(false, "oasis: unknown normalizer '", name,
              "'; expected softmax, softmax1, clipped_softmax, sparsemax or entmax15");
}

std::string_view normalizer_name(Normalizer kind) {
  switch (kind) {
    case Normalizer::kSoftmax:
      return "softmax";
    case Normalizer::kSoftmax1:
      return "softmax1";
    case Normalizer::kClippedSoftmax:
      return "clipped_softmax";
    case Normalizer::kSparsemax:
      return "sparsemax";
    case Normalizer::kEntmax15:
      return "entmax15";
  }
  return "unknown";
}

std::tuple<at::Tensor, at::Tensor> normalize(const at::Tensor& logits, const NormalizerSpec& spec) {
  TORCH_CHECK(at::isFloatingType(logits.scalar_type()),
              "oasis::normalize: logits must have a floating type, not ", logits.scalar_type());
  TORCH_CHECK(logits.dim() >= 1 && logits.size(-1) >= 1,
              "oasis::normalize: logits must be [..., n] with n >= 1, got shape ", logits.sizes());
  const auto outputs = NormalizeFunction::apply(logits, spec);
  return {outputs[0], outputs[1]};
}

at::Tensor normalize_backward(const at::Tensor& logits, const at::Tensor& probs,
                              const at::Tensor& grad_probs, const at::Tensor& grad_null,
                              const NormalizerSpec& spec) {
  if (logits.is_cpu()) return backward_cpu(logits, probs, grad_probs.contiguous(), grad_null, spec);
  return composed::normalize_backward(spec, composed::row_statistic(spec, logits), logits, probs,
                                      grad_probs,
                                      grad_null.defined() ? grad_null.unsqueeze(-1) : grad_null);
}

TORCH_LIBRARY_FRAGMENT(oasis, library) {
  library.def(
      "normalize(Tensor logits, str normalizer, float zeta=1.0, float gamma=0.0) -> (Tensor probs, "
      "Tensor null_posterior)",
      torch::dispatch(c10::DispatchKey::CompositeImplicitAutograd, normalize_operator));
}

}  // namespace oasis
