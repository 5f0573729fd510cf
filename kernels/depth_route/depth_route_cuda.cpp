#include "kernels/depth_route/depth_route_cuda.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>

#include "kernels/cuda/tensor_argument.h"
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
    p.element = cuda::element_type(first);
    for (size_t i = 0; i < sources_in.size(); ++i) {
      p.values[i] = sources.emplace_back(aligned(sources_in[i])).const_data_ptr();
    }
    direction = prepared_direction(in.direction, first.scalar_type());
    p.direction = direction.const_data_ptr();
    p.direction_is_float = direction.scalar_type() == at::kFloat;
    // With one token, [M, D] and [1, D] are the same thing; either reading is right.
    p.shared_direction = direction.size(0) == 1;
    p.logit_bias = floats(logit_bias = in_float(in.logit_bias));
    if (options.bias_line) {
      p.bias_is_line = true;
      p.line_first = options.bias_line->first;
      p.line_step = options.bias_line->step;
    }
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
  return cuda::has_element_type(source) && sources <= cuda::kMaxDepthSources &&
         cuda::depth_route_served(static_cast<int>(sources), static_cast<int>(source.size(1)),
                                  cuda::element_type(source));
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
  const auto& given = inputs.grad_direction;
  const bool fits = given.defined() && given.is_contiguous() &&
                    given.sizes() == problem.direction.sizes() &&
                    given.scalar_type() == problem.direction.scalar_type();
  g.direction = fits ? aligned(given) : at::empty_like(problem.direction);
  g.towards_u = at::empty_like(forward.weights);
  if (p.normalize_keys) g.towards_y = at::empty_like(forward.weights);
  if (p.logit_bias != nullptr) g.logit_bias = at::empty({cuda::bias_columns(p)}, in_floats);
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
    logit_partials =
        at::empty({blocks, cuda::bias_columns(p) + 1}, first.options().dtype(at::kDouble));
    out.logit_partials = logit_partials.mutable_data_ptr<double>();
  }
  cuda::depth_route_backward(p,
                             {floats(forward.weights), floats(forward.logits),
                              floats(forward.key_scale), data(grad_routed), floats(grad_weights)},
                             out, blocks, c10::cuda::getCurrentCUDAStream());
  return g;
}

bool any_float_direction(const std::vector<DepthReading>& readings, at::ScalarType type) {
  return std::any_of(readings.begin(), readings.end(), [=](const auto& reading) {
    return reading.direction.scalar_type() != type || type == at::kFloat;
  });
}

// Kernels' views of readings, and the tensors that they point into.
struct Readers {
  cuda::DepthReader view(const DepthReading& from, bool direction_is_float) {
    cuda::DepthReader to{};
    to.grad_routed = keep(from.grad_routed);
    to.direction = keep(direction_is_float ? from.direction.to(at::kFloat) : from.direction);
    to.shared_direction = from.direction.size(0) == 1;
    to.weights = floats(from.weights);
    to.towards_u = floats(from.towards_u);
    to.towards_y = floats(from.towards_y);
    to.stride = static_cast<int>(from.weights.size(1));
    return to;
  }

  const void* keep(const at::Tensor& x) { return data(kept.emplace_back(aligned(x))); }

  std::vector<at::Tensor> kept;
};

at::Tensor gather(const DepthSource& source, const at::Tensor& initial) {
  const c10::cuda::CUDAGuard guard(source.value.device());
  const auto value = aligned(source.value);
  const auto& readings = source.readings;
  cuda::DepthGather g{};
  g.tokens = value.size(0);
  g.hidden_size = static_cast<int>(value.size(1));
  g.element = cuda::element_type(value);
  g.direction_is_float = any_float_direction(readings, value.scalar_type());
  std::vector<at::Tensor> addends = {aligned(initial), aligned(source.partial)};
  at::Tensor gradient;
  size_t first = 0;
  do {
    Readers readers;
    g.readers = 0;
    g.value = nullptr;
    for (; first < readings.size() && g.readers < cuda::kMaxDepthSources; ++first, ++g.readers) {
      const auto& reading = readings[first];
      g.reader[g.readers] = readers.view(reading, g.direction_is_float);
      g.source[g.readers] = static_cast<int>(reading.source);
      if (reading.towards_y.defined()) g.value = data(value);
    }
    for (size_t i = 0; i < addends.size(); ++i) g.addends[i] = data(addends[i]);
    gradient = at::empty_like(value);
    g.gradient = mutable_data(gradient);
    cuda::depth_gather_gradient(g, c10::cuda::getCurrentCUDAStream());
    addends = {gradient, at::Tensor()};
  } while (first < readings.size());
  return gradient;
}

void gather_block(const std::vector<DepthSource*>& sources) {
  const auto& model = sources.front()->value;
  const c10::cuda::CUDAGuard guard(model.device());
  cuda::DepthGatherBlock b{};
  b.tokens = model.size(0);
  b.hidden_size = static_cast<int>(model.size(1));
  b.element = cuda::element_type(model);
  b.direction_is_float = std::any_of(sources.begin(), sources.end(), [&](const auto* source) {
    return any_float_direction(source->readings, model.scalar_type());
  });
  Readers readers;
  std::vector<const void*> routers;  // told apart by their weights
  const auto reader_of = [&](const DepthReading& reading) {
    const void* router = reading.weights.const_data_ptr();
    const auto at = std::find(routers.begin(), routers.end(), router) - routers.begin();
    if (at == std::ssize(routers)) {
      TORCH_CHECK(at < cuda::kDepthBlock, "oasis::depth_route: readings of more than ",
                  cuda::kDepthBlock, " routers");
      routers.push_back(router);
      b.reader[at] = readers.view(reading, b.direction_is_float);
    }
    return at;
  };
  std::vector<cuda::DepthBlockValue> values;
  for (auto* source : sources) {
    auto& to = values.emplace_back();
    std::fill(std::begin(to.source), std::end(to.source), int8_t{-1});
    for (const auto& reading : source->readings) {
      to.source[reader_of(reading)] = static_cast<int8_t>(reading.source);
      if (reading.towards_y.defined()) to.value = readers.keep(source->value);
    }
    to.addend = readers.keep(source->partial);
    source->partial = at::empty_like(model);
    to.gradient = mutable_data(source->partial);
    source->readings.clear();
  }
  for (size_t first = 0; first < values.size(); first += cuda::kMaxDepthSources) {
    const size_t count = std::min<size_t>(cuda::kMaxDepthSources, values.size() - first);
    b.values = static_cast<int>(count);
    std::copy_n(values.begin() + static_cast<std::ptrdiff_t>(first), count, b.value);
    cuda::depth_gather_block(b, c10::cuda::getCurrentCUDAStream());
  }
}

constexpr DepthRouteCuda kKernels{&served, &forward,      &backward,
                                  &gather, &gather_block, cuda::kDepthBlock};

[[maybe_unused]] const bool registered = [] {
  depth_route_cuda = &kKernels;
  return true;
}();

}  // namespace
}  // namespace oasis
