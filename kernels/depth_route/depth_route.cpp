#include "kernels/depth_route/depth_route.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/util/Exception.h>

#include "kernels/depth_route/depth_route_cpu.h"
#include "kernels/dispatch.h"
#include "kernels/normalizer/normalizer.h"

namespace oasis {
namespace {

// Tokens whose gradients of a shared direction are added up one after the other: few, so that
// rounding does not grow with the batch.
constexpr int64_t kSharedDirectionChunk = 32;

void check_inputs(const std::vector<at::Tensor>& sources, const DepthRouteInputs& in) {
  TORCH_CHECK(!sources.empty(), "oasis::depth_route: needs at least one source");
  const auto& first = sources.front();
  TORCH_CHECK(first.dim() == 2, "oasis::depth_route: sources must be [tokens, hidden_size], not ",
              first.sizes());
  for (const auto& source : sources) {
    TORCH_CHECK(source.sizes() == first.sizes() && source.scalar_type() == first.scalar_type(),
                "oasis::depth_route: sources differ: ", source.sizes(), " ", source.scalar_type(),
                " against ", first.sizes(), " ", first.scalar_type());
    TORCH_CHECK(source.is_contiguous(), "oasis::depth_route: sources must be contiguous");
  }
  const auto& u = in.direction;
  TORCH_CHECK(
      u.dim() == 2 && u.size(1) == first.size(1) && (u.size(0) == first.size(0) || u.size(0) == 1),
      "oasis::depth_route: direction must be [", first.size(0), " or 1, ", first.size(1), "], not ",
      u.sizes());
  const auto n = static_cast<int64_t>(sources.size());
  if (in.logit_bias.defined()) {
    TORCH_CHECK(in.logit_bias.dim() == 1 && in.logit_bias.size(0) == n,
                "oasis::depth_route: logit_bias must be [", n, "], not ", in.logit_bias.sizes());
  }
  TORCH_CHECK(in.nulls.defined() == in.beta.defined(),
              "oasis::depth_route: nulls and beta come together");
  if (in.nulls.defined()) {
    TORCH_CHECK(in.nulls.dim() == 2 && in.nulls.size(0) == n && in.nulls.size(1) == first.size(0),
                "oasis::depth_route: nulls must be [", n, ", ", first.size(0), "], not ",
                in.nulls.sizes());
    TORCH_CHECK(in.beta.numel() == 1, "oasis::depth_route: beta must hold one value");
  }
}

template <typename T>
struct CpuProblem {
  std::vector<const T*> values;
  at::Tensor direction, logit_bias, nulls;  // keep converted copies alive
  DepthRouteProblem<T> problem{};

  CpuProblem(const std::vector<at::Tensor>& sources, const DepthRouteInputs& in,
             const DepthRouteOptions& options) {
    const auto type = sources.front().scalar_type();
    const auto prepare = [type](const at::Tensor& t) {
      return t.defined() ? t.to(type).contiguous() : t;
    };
    direction = prepare(in.direction);
    logit_bias = prepare(in.logit_bias);
    nulls = prepare(in.nulls);
    for (const auto& source : sources) values.push_back(source.const_data_ptr<T>());
    problem.sources = static_cast<int64_t>(sources.size());
    problem.tokens = sources.front().size(0);
    problem.hidden_size = sources.front().size(1);
    problem.values = values.data();
    problem.direction = direction.const_data_ptr<T>();
    // With one token, [M, D] and [1, D] are the same thing; either reading is right.
    problem.direction_stride = direction.size(0) == 1 ? 0 : problem.hidden_size;
    problem.logit_bias = logit_bias.defined() ? logit_bias.const_data_ptr<T>() : nullptr;
    problem.nulls = nulls.defined() ? nulls.const_data_ptr<T>() : nullptr;
    problem.beta = in.beta.defined() ? in.beta.item().template to<T>() : T(0);
    problem.scale = static_cast<T>(options.scale);
    problem.normalize_keys = options.normalize_keys;
    problem.eps = static_cast<T>(options.eps);
    problem.normalizer = options.normalizer;
  }
};

// On devices other than the CPU: the same quantities from LibTorch operators, a source at a time.
DepthRouteForward composed_forward(const std::vector<at::Tensor>& sources,
                                   const DepthRouteInputs& in, const DepthRouteOptions& options,
                                   at::Tensor routed) {
  DepthRouteForward out;
  std::vector<at::Tensor> logits, scales;
  const auto u = in.direction.to(sources.front().scalar_type());
  for (const auto& y : sources) {
    auto g = (u * y).sum(-1) * options.scale;
    if (options.normalize_keys) {
      scales.push_back((y * y).mean(-1).add(options.eps).rsqrt());
      g = g * scales.back();
    }
    logits.push_back(g);
  }
  out.logits = at::stack(logits, -1);
  if (options.normalize_keys) out.key_scale = at::stack(scales, -1);
  if (in.logit_bias.defined()) out.logits = out.logits + in.logit_bias;
  if (in.nulls.defined()) {
    const auto nulls = in.nulls.t().to(out.logits.scalar_type());  // [M, n]
    out.logits = out.logits - in.beta * (nulls - nulls.mean(-1, /*keepdim=*/true));
  }
  out.weights = std::get<0>(
      normalize(at::clamp(out.logits, -kDepthLogitClamp, kDepthLogitClamp), options.normalizer));
  auto sum = sources[0] * out.weights.select(1, 0).unsqueeze(1);
  for (size_t i = 1; i < sources.size(); ++i) {
    sum.addcmul_(sources[i], out.weights.select(1, static_cast<int64_t>(i)).unsqueeze(1));
  }
  if (routed.defined()) {
    routed.copy_(sum);
    out.routed = routed;
  } else {
    out.routed = sum;
  }
  return out;
}

at::Tensor composed_backward(const std::vector<at::Tensor>& sources, const DepthRouteInputs& in,
                             const DepthRouteOptions& options, const DepthRouteForward& forward,
                             const at::Tensor& grad_routed, const at::Tensor& grad_weights,
                             const std::vector<at::Tensor>& source_gradients,
                             at::Tensor& grad_direction) {
  std::vector<at::Tensor> columns;
  for (const auto& y : sources) {
    columns.push_back(grad_routed.defined() ? (grad_routed * y).sum(-1)
                                            : at::zeros({y.size(0)}, y.options()));
  }
  auto grad_alpha = at::stack(columns, -1);
  if (grad_weights.defined()) grad_alpha = grad_alpha + grad_weights;
  const auto clamped = at::clamp(forward.logits, -kDepthLogitClamp, kDepthLogitClamp);
  auto gamma = normalize_backward(clamped, forward.weights, grad_alpha, {}, options.normalizer);
  gamma = gamma * (forward.logits.abs() <= kDepthLogitClamp).to(gamma.scalar_type());
  const auto u = in.direction.to(sources.front().scalar_type());
  grad_direction = at::zeros_like(sources.front());
  for (size_t i = 0; i < sources.size(); ++i) {
    const auto column = static_cast<int64_t>(i);
    auto towards_u = (gamma.select(1, column) * options.scale).unsqueeze(1);
    auto gradient = source_gradients[i];
    if (options.normalize_keys) {
      const auto r = forward.key_scale.select(1, column).unsqueeze(1);
      const auto product = (u * sources[i]).mean(-1, /*keepdim=*/true);
      gradient.addcmul_(sources[i], -towards_u * r * r * r * product);
      towards_u = towards_u * r;
    }
    grad_direction.addcmul_(sources[i], towards_u);
    gradient.add_(towards_u * u);
    if (grad_routed.defined()) {
      gradient.addcmul_(grad_routed, forward.weights.select(1, column).unsqueeze(1));
    }
  }
  if (in.direction.size(0) == 1) grad_direction = grad_direction.sum(0, /*keepdim=*/true);
  return gamma;
}

}  // namespace

DepthRouteForward depth_route_forward(const std::vector<at::Tensor>& sources,
                                      const DepthRouteInputs& inputs,
                                      const DepthRouteOptions& options, at::Tensor routed) {
  check_inputs(sources, inputs);
  const auto& first = sources.front();
  if (!first.is_cpu()) return composed_forward(sources, inputs, options, std::move(routed));
  DepthRouteForward out;
  const auto n = static_cast<int64_t>(sources.size());
  out.routed = routed.defined() ? std::move(routed) : at::empty_like(first);
  out.weights = at::empty({first.size(0), n}, first.options());
  out.logits = at::empty_like(out.weights);
  if (options.normalize_keys) out.key_scale = at::empty_like(out.weights);
  dispatch_floating(first.scalar_type(), "oasis::depth_route", [&]<typename scalar_t>() {
    const CpuProblem<scalar_t> cpu(sources, inputs, options);
    depth_route_forward_cpu(
        cpu.problem, out.routed.mutable_data_ptr<scalar_t>(),
        out.weights.mutable_data_ptr<scalar_t>(), out.logits.mutable_data_ptr<scalar_t>(),
        options.normalize_keys ? out.key_scale.mutable_data_ptr<scalar_t>() : nullptr);
  });
  return out;
}

DepthRouteGradients depth_route_backward(const std::vector<at::Tensor>& sources,
                                         const DepthRouteInputs& inputs,
                                         const DepthRouteOptions& options,
                                         const DepthRouteForward& forward,
                                         const at::Tensor& grad_routed,
                                         const at::Tensor& grad_weights,
                                         const std::vector<at::Tensor>& source_gradients) {
  const auto& first = sources.front();
  DepthRouteGradients gradients;
  at::Tensor gamma;  // ∂L/∂g [M, n]
  if (!first.is_cpu()) {
    gamma = composed_backward(sources, inputs, options, forward, grad_routed, grad_weights,
                              source_gradients, gradients.direction);
  } else {
    gamma = at::empty_like(forward.weights);
    dispatch_floating(first.scalar_type(), "oasis::depth_route backward", [&]<typename scalar_t>() {
      const CpuProblem<scalar_t> cpu(sources, inputs, options);
      const auto out = grad_routed.defined() ? grad_routed.contiguous() : grad_routed;
      const auto alpha = grad_weights.defined() ? grad_weights.contiguous() : grad_weights;
      std::vector<scalar_t*> grad_values;
      for (const auto& g : source_gradients) grad_values.push_back(g.mutable_data_ptr<scalar_t>());
      const bool shared = cpu.problem.direction_stride == 0;
      const int64_t chunks =
          (cpu.problem.tokens + kSharedDirectionChunk - 1) / kSharedDirectionChunk;
      gradients.direction =
          shared ? at::zeros({chunks, first.size(1)}, first.options()) : at::empty_like(first);
      DepthRouteBackward<scalar_t> b{};
      b.weights = forward.weights.const_data_ptr<scalar_t>();
      b.logits = forward.logits.const_data_ptr<scalar_t>();
      b.key_scale = options.normalize_keys ? forward.key_scale.const_data_ptr<scalar_t>() : nullptr;
      b.grad_routed = out.defined() ? out.const_data_ptr<scalar_t>() : nullptr;
      b.grad_weights = alpha.defined() ? alpha.const_data_ptr<scalar_t>() : nullptr;
      b.grad_values = grad_values.data();
      b.grad_direction = gradients.direction.mutable_data_ptr<scalar_t>();
      b.grad_logits = gamma.mutable_data_ptr<scalar_t>();
      b.chunk = kSharedDirectionChunk;
      depth_route_backward_cpu(cpu.problem, b);
      if (shared) gradients.direction = gradients.direction.sum(0, /*keepdim=*/true);
    });
  }
  if (inputs.logit_bias.defined()) gradients.logit_bias = gamma.sum(0);
  if (inputs.nulls.defined()) {
    const auto nulls = inputs.nulls.t().to(gamma.scalar_type());
    const auto centred = nulls - nulls.mean(-1, /*keepdim=*/true);
    gradients.beta = -(gamma * centred).sum().reshape({1});
    gradients.nulls = (gamma - gamma.mean(-1, /*keepdim=*/true)).mul(-inputs.beta).t();
  }
  return gradients;
}

}  // namespace oasis
