#include "kernels/depth_route/depth_route_composed.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "kernels/normalizer/normalizer.h"

namespace oasis::composed {
namespace {

at::ScalarType compute_type(const at::Tensor& source) {
  return source.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

std::vector<at::Tensor> converted(const std::vector<at::Tensor>& tensors, at::ScalarType type) {
  std::vector<at::Tensor> result;
  for (const auto& x : tensors) result.push_back(x.to(type));
  return result;
}

// Column i of [M, n], as [M, 1].
at::Tensor column(const at::Tensor& x, size_t i) {
  return x.select(1, static_cast<int64_t>(i)).unsqueeze(1);
}

}  // namespace

DepthRouteForward depth_route_forward(const std::vector<at::Tensor>& sources,
                                      const DepthRouteInputs& in, const DepthRouteOptions& options,
                                      at::Tensor routed) {
  const auto type = compute_type(sources.front());
  const auto values = converted(sources, type);
  const auto u = in.direction.to(type);
  DepthRouteForward out;
  std::vector<at::Tensor> logits, scales;
  for (const auto& y : values) {
    auto g = (u * y).sum(-1) * options.scale;
    if (options.normalize_keys) {
      scales.push_back((y * y).mean(-1).add(options.eps).rsqrt());
      g = g * scales.back();
    }
    logits.push_back(g);
  }
  out.logits = at::stack(logits, -1);
  if (options.normalize_keys) out.key_scale = at::stack(scales, -1);
  if (in.logit_bias.defined()) out.logits = out.logits + in.logit_bias.to(type);
  if (in.nulls.defined()) {
    const auto nulls = in.nulls.t().to(type);  // [M, n]
    out.logits = out.logits - in.beta.to(type) * (nulls - nulls.mean(-1, /*keepdim=*/true));
  }
  out.weights = std::get<0>(
      normalize(at::clamp(out.logits, -kDepthLogitClamp, kDepthLogitClamp), options.normalizer));
  auto sum = values[0] * column(out.weights, 0);
  for (size_t i = 1; i < values.size(); ++i) sum.addcmul_(values[i], column(out.weights, i));
  out.routed = routed.defined() ? routed.copy_(sum) : sum.to(sources.front().scalar_type());
  return out;
}

std::tuple<DepthRouteGradients, at::Tensor> depth_route_backward(
    const std::vector<at::Tensor>& sources, const DepthRouteInputs& in,
    const DepthRouteOptions& options, const DepthRouteForward& forward,
    const at::Tensor& grad_routed_in, const at::Tensor& grad_weights,
    const std::vector<at::Tensor>& source_gradients) {
  const auto type = compute_type(sources.front());
  const auto values = converted(sources, type);
  const auto u = in.direction.to(type);
  const auto grad_routed = grad_routed_in.defined() ? grad_routed_in.to(type) : grad_routed_in;
  std::vector<at::Tensor> columns;
  for (const auto& y : values) {
    columns.push_back(grad_routed.defined() ? (grad_routed * y).sum(-1)
                                            : at::zeros({y.size(0)}, y.options()));
  }
  auto grad_alpha = at::stack(columns, -1);
  if (grad_weights.defined()) grad_alpha = grad_alpha + grad_weights;
  const auto clamped = at::clamp(forward.logits, -kDepthLogitClamp, kDepthLogitClamp);
  auto gamma = normalize_backward(clamped, forward.weights, grad_alpha, {}, options.normalizer);
  gamma = gamma * (forward.logits.abs() <= kDepthLogitClamp).to(type);

  DepthRouteGradients gradients;
  gradients.towards_u = gamma * options.scale;
  if (options.normalize_keys) {
    std::vector<at::Tensor> products;
    for (const auto& y : values) products.push_back((u * y).mean(-1));
    gradients.towards_u = gradients.towards_u * forward.key_scale;
    gradients.towards_y =
        -gradients.towards_u * forward.key_scale * forward.key_scale * at::stack(products, -1);
  }
  gradients.direction = at::zeros_like(values.front());
  for (size_t i = 0; i < values.size(); ++i) {
    gradients.direction.addcmul_(values[i], column(gradients.towards_u, i));
  }
  if (in.direction.size(0) == 1) {
    gradients.direction = gradients.direction.sum(0, /*keepdim=*/true, at::kDouble).to(type);
  }
  for (size_t i = 0; i < source_gradients.size(); ++i) {
    const DepthReading reading{grad_routed,         in.direction,        forward.weights,
                               gradients.towards_u, gradients.towards_y, static_cast<int64_t>(i)};
    source_gradients[i].copy_(depth_gather_gradient({sources[i], {reading}, {}}, {}));
  }
  return {gradients, gamma};
}

at::Tensor depth_gather_gradient(const DepthSource& source, const at::Tensor& initial) {
  const auto& value = source.value;
  const auto type = compute_type(value);
  auto sum = initial.defined() ? initial.to(type, /*non_blocking=*/false, /*copy=*/true)
                               : at::zeros(value.sizes(), value.options().dtype(type));
  for (const auto& reading : source.readings) {
    const auto of_source = [&](const at::Tensor& x) {
      return column(x, static_cast<size_t>(reading.source));
    };
    if (reading.grad_routed.defined()) {
      sum.addcmul_(reading.grad_routed.to(type), of_source(reading.weights));
    }
    sum.addcmul_(reading.direction.to(type), of_source(reading.towards_u));
    if (reading.towards_y.defined()) sum.addcmul_(value.to(type), of_source(reading.towards_y));
  }
  return sum.to(value.scalar_type());
}

}  // namespace oasis::composed
