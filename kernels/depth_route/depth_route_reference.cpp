#include "kernels/depth_route/depth_route_reference.h"

#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>

#include "kernels/normalizer/normalizer_reference.h"
#include "kernels/reference_values.h"

namespace oasis::reference {
namespace {

using Values = std::vector<double>;

double dot(const double* a, const double* b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

void add_scaled(double factor, const double* from, double* to, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] += factor * from[i];
}

// The inputs as float64 arrays, and what both passes compute of one token.
struct Problem {
  Problem(const std::vector<at::Tensor>& sources_in, const DepthRouteInputs& in,
          const DepthRouteOptions& options_in)
      : options(options_in), direction(plain(in.direction)) {
    for (const auto& source : sources_in) sources.push_back(plain(source));
    if (in.logit_bias.defined()) logit_bias = plain(in.logit_bias);
    if (in.nulls.defined()) nulls = plain(in.nulls);
    if (in.beta.defined()) beta = in.beta.item<double>();
    n = static_cast<int64_t>(sources.size());
    M = sources.front().size(0);
    D = sources.front().size(1);
  }

  const double* source(int64_t i, int64_t m) const {
    return sources[i].const_data_ptr<double>() + m * D;
  }
  int64_t direction_row(int64_t m) const { return direction.size(0) == 1 ? 0 : m; }
  const double* u(int64_t m) const {
    return direction.const_data_ptr<double>() + direction_row(m) * D;
  }
  double null(int64_t i, int64_t m) const { return nulls.const_data_ptr<double>()[i * M + m]; }
  double mean_null(int64_t m) const {
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += null(i, m);
    return sum / static_cast<double>(n);
  }
  // Length by which a source is divided to make its key.
  double key_length(const double* y) const {
    return options.normalize_keys ? std::sqrt(dot(y, y, D) / static_cast<double>(D) + options.eps)
                                  : 1.0;
  }

  // g of every source, before the clamp.
  Values logits(int64_t m) const {
    Values g;
    for (int64_t i = 0; i < n; ++i) {
      const double* y = source(i, m);
      double logit = options.scale * dot(u(m), y, D) / key_length(y);
      if (logit_bias.defined()) logit += logit_bias.const_data_ptr<double>()[i];
      if (nulls.defined()) logit -= beta * (null(i, m) - mean_null(m));
      g.push_back(logit);
    }
    return g;
  }

  DepthRouteOptions options;
  at::Tensor direction, logit_bias, nulls;
  std::vector<at::Tensor> sources;
  double beta = 0;
  int64_t n, M, D;
};

Values clamped(Values logits) {
  for (double& g : logits) g = std::clamp(g, -kDepthLogitClamp, kDepthLogitClamp);
  return logits;
}

}  // namespace

DepthRoute depth_route(const std::vector<at::Tensor>& sources, const DepthRouteInputs& inputs,
                       const DepthRouteOptions& options) {
  const Problem p(sources, inputs, options);
  DepthRoute out{at::zeros_like(p.sources.front()),
                 at::zeros({p.M, p.n}, p.sources.front().options())};
  for (int64_t m = 0; m < p.M; ++m) {
    const auto row = normalize(options.normalizer, clamped(p.logits(m)));
    for (int64_t i = 0; i < p.n; ++i) {
      out.weights.mutable_data_ptr<double>()[m * p.n + i] = row.probs[i];
      add_scaled(row.probs[i], p.source(i, m), out.routed.mutable_data_ptr<double>() + m * p.D,
                 p.D);
    }
  }
  return out;
}

DepthRouteGradients depth_route_backward(const std::vector<at::Tensor>& sources,
                                         const DepthRouteInputs& inputs,
                                         const DepthRouteOptions& options,
                                         const at::Tensor& grad_routed_in,
                                         const at::Tensor& grad_weights_in) {
  const Problem p(sources, inputs, options);
  const auto grad_routed = plain(grad_routed_in), grad_weights = plain(grad_weights_in);
  const auto zeros_of = [](const at::Tensor& x) { return x.defined() ? at::zeros_like(x) : x; };
  DepthRouteGradients grads{
      {},
      zeros_of(p.direction),
      zeros_of(p.logit_bias),
      zeros_of(p.nulls),
      inputs.beta.defined() ? at::zeros({1}, p.direction.options()) : at::Tensor()};
  for (const auto& source : p.sources) grads.sources.push_back(at::zeros_like(source));

  for (int64_t m = 0; m < p.M; ++m) {
    const auto logits = p.logits(m);
    const auto row = normalize(options.normalizer, clamped(logits));
    const double* grad_out = grad_routed.const_data_ptr<double>() + m * p.D;
    Values grad_probs;
    for (int64_t i = 0; i < p.n; ++i) {
      grad_probs.push_back(dot(grad_out, p.source(i, m), p.D) +
                           grad_weights.const_data_ptr<double>()[m * p.n + i]);
    }
    auto grad_logits = normalize_backward(options.normalizer, clamped(logits), grad_probs, 0);
    double grad_sum = 0;
    for (int64_t i = 0; i < p.n; ++i) {
      if (std::abs(logits[i]) > kDepthLogitClamp) grad_logits[i] = 0;
      grad_sum += grad_logits[i];
    }

    const double* u = p.u(m);
    double* grad_u = grads.direction.mutable_data_ptr<double>() + p.direction_row(m) * p.D;
    for (int64_t i = 0; i < p.n; ++i) {
      const double* y = p.source(i, m);
      double* grad_y = grads.sources[i].mutable_data_ptr<double>() + m * p.D;
      const double length = p.key_length(y);
      const double grad_product = grad_logits[i] * options.scale / length;  // ∂L/∂(u·y)
      add_scaled(row.probs[i], grad_out, grad_y, p.D);
      add_scaled(grad_product, y, grad_u, p.D);
      add_scaled(grad_product, u, grad_y, p.D);
      if (options.normalize_keys) {  // ∂(1/length)/∂y = −y/(D·length³)
        const double shrink = dot(u, y, p.D) / (static_cast<double>(p.D) * length * length);
        add_scaled(-grad_product * shrink, y, grad_y, p.D);
      }
      if (grads.logit_bias.defined()) {
        grads.logit_bias.mutable_data_ptr<double>()[i] += grad_logits[i];
      }
      if (grads.nulls.defined()) {
        // null_i enters every logit through the mean
        grads.nulls.mutable_data_ptr<double>()[i * p.M + m] =
            -p.beta * (grad_logits[i] - grad_sum / static_cast<double>(p.n));
        grads.beta.mutable_data_ptr<double>()[0] -=
            grad_logits[i] * (p.null(i, m) - p.mean_null(m));
      }
    }
  }
  return grads;
}

}  // namespace oasis::reference
