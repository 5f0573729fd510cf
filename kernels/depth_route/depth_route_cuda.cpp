#include "kernels/depth_route/depth_route_cuda.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>

#include "kernels/depth_route/depth_route_kernel.h"

namespace oasis {
namespace {

// A row is read in vectors of 16 bytes.
at::Tensor aligned(const at::Tensor& x) {
  if (!x.defined()) return x;
  const auto dense = x.contiguous();
  return reinterpret_cast<uintptr_t>(dense.const_data_ptr()) % 16 == 0 ? dense : dense.clone();
}

at::Tensor in_float(const at::Tensor& x) {
  return x.defined() ? x.to(at::kFloat).contiguous() : x;
}

const float* floats(const at::Tensor& x) {
  return x.defined() ? x.const_data_ptr<float>() : nullptr;
}

float* mutable_floats(const at::Tensor& x) {
  return x.defined() ? x.mutable_data_ptr<float>() : nullptr;
}

const void* data(const at::Tensor& x) {
  return x.defined() ? x.const_data_ptr() : nullptr;
}

void* mutable_data(const at::Tensor& x) {
  return x.defined() ? x.mutable_data_ptr() : nullptr;
}

bool is_kernel_type(at::ScalarType type) {
  return type == at::kFloat || type == at::kBFloat16 || type == at::kHalf;
}

cuda::DepthElement element_of(at::ScalarType type) {
  return type == at::kFloat      ? cuda::DepthElement::kFloat32
         : type == at::kBFloat16 ? cuda::DepthElement::kBfloat16
                                 : cuda::DepthElement::kFloat16;
}

// The sources' type or float32: what the kernels read.
at::Tensor prepared_direction(const at::Tensor& direction, at::ScalarType sources) {
  return aligned(direction.scalar_type() == sources ? direction : direction.to(at::kFloat));
}

// The kernels' view of a problem, and the tensors that it points into.
struct Problem {
  Problem(const std::vector<at::Tensor>& sources_in, const DepthRouteInputs& in,
          const DepthRouteOptions& options) {
    const auto& first = sources_in.front();
    p.sources = static_cast<int>(sources_in.size());
    p.tokens = first.size(0);
    p.hidden_size = static_cast<int>(first.size(1));
    p.element = element_of(first.scalar_type());
    for (size_t i = 0; i < sources_in.size(); ++i) {
      p.values[i] = sources.emplace_back(aligned(sources_in[i])).const_data_ptr();
    }
    direction = prepared_direction(in.direction, first.scalar_type());
    p.direction = direction.const_data_ptr();
    p.direction_is_float = direction.scalar_type() == at::kFloat;
    // With one token, [M, D] and [1, D] are the same thing; either reading is right.
    p.shared_direction = direction.size(0) == 1;
    p.logit_bias = floats(logit_bias = in_float(in.logit_bias));
    p.nulls = floats(nulls = in_float(in.nulls));
    p.beta = floats(beta = in_float(in.beta));
    p.normalizer = static_cast<cuda::DepthNormalizer>(options.normalizer.kind);
    p.zeta = static_cast<float>(options.normalizer.zeta);
    p.gamma = static_cast<float>(options.normalizer.gamma);
    p.scale = static_cast<float>(options.scale);
    p.normalize_keys = options.normalize_keys;
    p.eps = static_cast<float>(options.eps);
  }

  std::vector<at::Tensor> sources;
  at::Tensor direction, logit_bias, nulls, beta;
  cuda::DepthRouteProblem p{};
};

bool served(const at::Tensor& source, int64_t sources) {
  return is_kernel_type(source.scalar_type()) && sources <= cuda::kMaxDepthSources &&
         cuda::depth_route_served(static_cast<int>(sources), static_cast<int>(source.size(1)),
                                  element_of(source.scalar_type()));
}

DepthRouteForward forward(const std::vector<at::Tensor>& sources, const DepthRouteInputs& inputs,
                          const DepthRouteOptions& options, at::Tensor routed) {
  const auto& first = sources.front();
  const c10::cuda::CUDAGuard guard(first.device());
  const Problem problem(sources, inputs, options);
  DepthRouteForward out;
  out.routed = routed.defined() ? std::move(routed) : at::empty_like(first);
  out.weights = at::empty({first.size(0), problem.p.sources}, first.options().dtype(at::kFloat));
  out.logits = at::empty_like(out.weights);
  if (options.normalize_keys) out.key_scale = at::empty_like(out.weights);
  cuda::depth_route_forward(problem.p,
                            {mutable_data(out.routed), mutable_floats(out.weights),
                             mutable_floats(out.logits), mutable_floats(out.key_scale)},
                            c10::cuda::getCurrentCUDAStream());
  return out;
}

DepthRouteGradients backward(const std::vector<at::Tensor>& sources, const DepthRouteInputs& inputs,
                             const DepthRouteOptions& options, const DepthRouteForward& forward,
                             const at::Tensor& grad_routed_in, const at::Tensor& grad_weights_in,
                             const std::vector<at::Tensor>& source_gradients) {
  const auto& first = sources.front();
  const c10::cuda::CUDAGuard guard(first.device());
  const Problem problem(sources, inputs, options);
  const auto& p = problem.p;
  const auto grad_routed = aligned(grad_routed_in);
  const auto grad_weights = in_float(grad_weights_in);
  const auto in_floats = first.options().dtype(at::kFloat);

  DepthRouteGradients g;
  g.direction = at::empty_like(problem.direction);
  g.towards_u = at::empty_like(forward.weights);
  if (p.normalize_keys) g.towards_y = at::empty_like(forward.weights);
  if (p.logit_bias != nullptr) g.logit_bias = at::empty({p.sources}, in_floats);
  if (p.nulls != nullptr) {
    g.nulls = at::empty({p.sources, p.tokens}, in_floats);
    g.beta = at::empty({1}, in_floats);
  }
  const int blocks = cuda::depth_route_backward_blocks(p);
  at::Tensor direction_partials, logit_partials;
  cuda::DepthRouteGradientOutputs out{};
  for (size_t i = 0; i < source_gradients.size(); ++i) {
    out.grad_values[i] = mutable_data(source_gradients[i]);
  }
  out.grad_direction = g.direction.mutable_data_ptr();
  out.grad_logit_bias = mutable_floats(g.logit_bias);
  out.grad_nulls = mutable_floats(g.nulls);
  out.grad_beta = mutable_floats(g.beta);
  out.towards_u = mutable_floats(g.towards_u);
  out.towards_y = mutable_floats(g.towards_y);
  if (p.shared_direction) {
    direction_partials = at::empty({blocks, p.hidden_size}, in_floats);
    out.direction_partials = direction_partials.mutable_data_ptr<float>();
  }
  if (p.logit_bias != nullptr || p.nulls != nullptr) {
    logit_partials = at::empty({blocks, p.sources + 1}, first.options().dtype(at::kDouble));
    out.logit_partials = logit_partials.mutable_data_ptr<double>();
  }
  cuda::depth_route_backward(p,
                             {floats(forward.weights), floats(forward.logits),
                              floats(forward.key_scale), data(grad_routed), floats(grad_weights)},
                             out, blocks, c10::cuda::getCurrentCUDAStream());
  return g;
}

// What a gather's pointers point into, and those pointers.
struct Readers {
  Readers(const at::Tensor& value, const DepthReading* readings, size_t count) {
    const auto type = value.scalar_type();
    gather.direction_is_float = std::any_of(readings, readings + count, [=](const auto& reading) {
      return reading.direction.scalar_type() != type || type == at::kFloat;
    });
    for (size_t r = 0; r < count; ++r) {
      const auto& from = readings[r];
      auto& to = gather.reader[gather.readers++];
      const auto direction =
          gather.direction_is_float ? from.direction.to(at::kFloat) : from.direction;
      to.direction = keep(direction);
      to.shared_direction = direction.size(0) == 1;
      const bool has_grad = from.grad_routed.defined();
      to.grad_routed = has_grad ? keep(from.grad_routed) : value.const_data_ptr();
      to.weights = has_grad ? floats(from.weights) + from.source : nullptr;
      to.towards_u = floats(from.towards_u) + from.source;
      to.stride = static_cast<int>(from.weights.size(1));
      if (from.towards_y.defined()) {
        to.towards_y = floats(from.towards_y) + from.source;
        gather.value = value.const_data_ptr();
      }
    }
    gather.tokens = value.size(0);
    gather.hidden_size = static_cast<int>(value.size(1));
    gather.element = element_of(type);
  }

  const void* keep(const at::Tensor& x) { return data(kept.emplace_back(aligned(x))); }

  std::vector<at::Tensor> kept;
  cuda::DepthGather gather{};
};

at::Tensor gather(const at::Tensor& value_in, const std::vector<DepthReading>& readings,
                  const at::Tensor& initial) {
  const c10::cuda::CUDAGuard guard(value_in.device());
  const auto value = aligned(value_in);
  auto sum = aligned(initial);
  constexpr size_t kMost = cuda::kMaxDepthSources;
  for (size_t first = 0; first < readings.size(); first += kMost) {
    Readers readers(value, readings.data() + first, std::min(kMost, readings.size() - first));
    const auto result = at::empty_like(value);
    readers.gather.initial = data(sum);
    readers.gather.gradient = result.mutable_data_ptr();
    cuda::depth_gather_gradient(readers.gather, c10::cuda::getCurrentCUDAStream());
    sum = result;
  }
  return sum;
}

constexpr DepthRouteCuda kKernels{&served, &forward, &backward, &gather};

[[maybe_unused]] const bool registered = [] {
  depth_route_cuda = &kKernels;
  return true;
}();

}  // namespace
}  // namespace oasis
