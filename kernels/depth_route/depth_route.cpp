#include "kernels/depth_route/depth_route.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>

#include <utility>

#include "kernels/depth_route/depth_route_composed.h"
#include "kernels/depth_route/depth_route_cpu.h"
#include "kernels/depth_route/depth_route_cuda.h"
#include "kernels/dispatch.h"

namespace oasis {

const DepthRouteCuda* depth_route_cuda = nullptr;

namespace {

// Tokens whose gradients of a shared direction are added up one after the other: few, so that
// rounding does not grow with the batch.
constexpr int64_t kSharedDirectionChunk = 32;

void check_inputs(const std::vector<at::Tensor>& sources, const DepthRouteInputs& in,
                  const DepthRouteOptions& options) {
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
    const int64_t size = options.bias_line ? 1 : n;
    TORCH_CHECK(in.logit_bias.dim() == 1 && in.logit_bias.size(0) == size,
                "oasis::depth_route: logit_bias must be [", size, "], not ", in.logit_bias.sizes());
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

// [n], of the reference's type and device.
at::Tensor on_line(const DepthLine& line, int64_t n, const at::Tensor& reference) {
  const auto steps = at::arange(n, at::kDouble) * line.step + line.first;
  return steps.to(reference.device(), reference.scalar_type());
}

// With a bias for every source.
DepthRouteInputs by_source(const DepthRouteInputs& in, const DepthRouteOptions& options,
                           size_t sources) {
  auto result = in;
  if (options.bias_line && in.logit_bias.defined()) {
    const auto n = static_cast<int64_t>(sources);
    result.logit_bias = in.logit_bias * on_line(*options.bias_line, n, in.logit_bias);
  }
  return result;
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

// The CUDA kernels, for what they take.
const DepthRouteCuda* kernels_for(const at::Tensor& source, size_t sources) {
  const bool served = source.is_cuda() && depth_route_cuda != nullptr &&
                      depth_route_cuda->served(source, static_cast<int64_t>(sources));
  return served ? depth_route_cuda : nullptr;
}

}  // namespace

DepthRouteForward depth_route_forward(const std::vector<at::Tensor>& sources,
                                      const DepthRouteInputs& inputs,
                                      const DepthRouteOptions& options, at::Tensor routed) {
  check_inputs(sources, inputs, options);
  const auto& first = sources.front();
  if (const auto* cuda = kernels_for(first, sources.size())) {
    return cuda->forward(sources, inputs, options, std::move(routed));
  }
  if (!first.is_cpu()) {
    return composed::depth_route_forward(sources, by_source(inputs, options, sources.size()),
                                         options, std::move(routed));
  }
  DepthRouteForward out;
  const auto n = static_cast<int64_t>(sources.size());
  out.routed = routed.defined() ? std::move(routed) : at::empty_like(first);
  out.weights = at::empty({first.size(0), n}, first.options());
  out.logits = at::empty_like(out.weights);
  if (options.normalize_keys) out.key_scale = at::empty_like(out.weights);
  dispatch_floating(first.scalar_type(), "oasis::depth_route", [&]<typename scalar_t>() {
    const CpuProblem<scalar_t> cpu(sources, by_source(inputs, options, sources.size()), options);
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
  if (const auto* cuda = kernels_for(first, sources.size())) {
    return cuda->backward(sources, inputs, options, forward, grad_routed, grad_weights,
                          source_gradients);
  }
  DepthRouteGradients gradients;
  at::Tensor gamma;  // ∂L/∂g [M, n]
  if (!first.is_cpu()) {
    std::tie(gradients, gamma) = composed::depth_route_backward(
        sources, inputs, options, forward, grad_routed, grad_weights, source_gradients);
  } else {
    gamma = at::empty_like(forward.weights);
    gradients.towards_u = at::empty_like(gamma);
    if (options.normalize_keys) gradients.towards_y = at::empty_like(gamma);
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
      b.grad_values = grad_values.empty() ? nullptr : grad_values.data();
      b.grad_direction = gradients.direction.mutable_data_ptr<scalar_t>();
      b.grad_logits = gamma.mutable_data_ptr<scalar_t>();
      b.towards_u = gradients.towards_u.mutable_data_ptr<scalar_t>();
      b.towards_y =
          options.normalize_keys ? gradients.towards_y.mutable_data_ptr<scalar_t>() : nullptr;
      b.chunk = kSharedDirectionChunk;
      depth_route_backward_cpu(cpu.problem, b);
      if (shared) gradients.direction = gradients.direction.sum(0, /*keepdim=*/true);
    });
  }
  // Sums over the tokens, which may cancel, in float64.
  const auto type = gamma.scalar_type();
  if (inputs.logit_bias.defined()) {
    auto sum = gamma.sum(0, /*keepdim=*/false, at::kDouble);
    if (options.bias_line) {
      sum = (sum * on_line(*options.bias_line, gamma.size(1), sum)).sum(0, /*keepdim=*/true);
    }
    gradients.logit_bias = sum.to(type);
  }
  if (inputs.nulls.defined()) {
    const auto nulls = inputs.nulls.t().to(at::kDouble);
    const auto centred = nulls - nulls.mean(-1, /*keepdim=*/true);
    gradients.beta = -(gamma * centred).sum().to(type).reshape({1});
    gradients.nulls = (gamma - gamma.mean(-1, /*keepdim=*/true)).mul(-inputs.beta).t();
  }
  return gradients;
}

int64_t depth_block_size(const at::Tensor& value) {
  const auto* cuda = kernels_for(value, 1);
  return cuda == nullptr ? 0 : cuda->block_size;
}

void depth_gather_block(const std::vector<DepthSource*>& sources) {
  if (sources.empty()) return;
  const auto* cuda = kernels_for(sources.front()->value, 1);
  TORCH_CHECK(cuda != nullptr, "oasis::depth_route: no kernel gathers blocks of readings here");
  cuda->gather_block(sources);
}

at::Tensor depth_gather_gradient(const DepthSource& source, const at::Tensor& initial) {
  const auto& value = source.value;
  if (const auto* cuda = kernels_for(value, 1)) return cuda->gather(source, initial);
  if (!value.is_cpu()) return composed::depth_gather_gradient(source, initial);
  auto gradient = initial.defined() ? initial.clone(at::MemoryFormat::Contiguous)
                                    : at::zeros(value.sizes(), value.options());
  dispatch_floating(value.scalar_type(), "oasis::depth_route", [&]<typename scalar_t>() {
    std::vector<at::Tensor> kept;  // what the readers point into
    const auto pointer = [&](const at::Tensor& x) -> const scalar_t* {
      if (!x.defined()) return nullptr;
      kept.push_back(x.to(value.scalar_type()).contiguous());
      return kept.back().const_data_ptr<scalar_t>();
    };
    std::vector<DepthReader<scalar_t>> readers;
    for (const auto& from : source.readings) {
      DepthReader<scalar_t> to{};
      to.grad_routed = pointer(from.grad_routed);
      to.direction = pointer(from.direction);
      to.direction_stride = from.direction.size(0) == 1 ? 0 : value.size(1);
      to.weights = pointer(from.weights) + from.source;
      to.towards_u = pointer(from.towards_u) + from.source;
      if (from.towards_y.defined()) to.towards_y = pointer(from.towards_y) + from.source;
      to.stride = from.weights.size(1);
      readers.push_back(to);
    }
    depth_gather_gradient_cpu(value.const_data_ptr<scalar_t>(), readers, value.size(0),
                              value.size(1), gradient.mutable_data_ptr<scalar_t>());
  });
  return gradient;
}

}  // namespace oasis
