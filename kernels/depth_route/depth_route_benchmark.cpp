// One router, forward and backward, over 9 and 18 sources under Softmax1 with the coupling.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/stack.h>
#include <fmt/format.h>

#include <cmath>

#include "kernels/benchmark/case.h"
#include "kernels/benchmark/eager.h"
#include "kernels/depth_route/depth_route.h"
#include "kernels/linear/linear.h"

namespace oasis::bench {
namespace {

constexpr double kEps = 1e-6;

// projected: with its query and key projections. direction: the operator alone, u given per token.
// pseudo_query: one learned query, normalised keys.
enum class Form { kProjected, kDirection, kPseudoQuery };

struct Shape {
  std::int64_t n, M, D;
  std::int64_t router() const { return std::max<std::int64_t>(D / 4, 64); }
};

std::vector<Shape> shapes(const Target& target) {
  if (target.cuda() && !target.quick) return {{9, 16384, 2048}, {18, 16384, 2048}};
  if (target.cuda()) return {{9, 4096, 768}, {18, 4096, 768}};
  if (!target.quick) return {{9, 2048, 768}, {18, 2048, 768}};
  return {{9, 512, 256}, {18, 512, 256}};
}

// Inputs: the n sources, nulls [n,M], beta [1], and then by form
//   projected: W_q, W_k [A,D], recency bias [1];  direction: u [M,D], logit bias [n];
//   pseudo-query: w, gain [D].
Tensors make_inputs(const Shape& s, Form form, at::ScalarType type, const Target& target) {
  Tensors in;
  std::uint64_t seed = 1;
  for (std::int64_t i = 0; i < s.n; ++i) in.push_back(draw({s.M, s.D}, type, target, seed++));
  in.push_back(draw({s.n, s.M}, at::kFloat, target, seed++).sigmoid());
  in.push_back(draw({1}, at::kFloat, target, seed++).abs());
  const double unit = 1 / std::sqrt(static_cast<double>(s.D));  // for logits of about 1
  switch (form) {
    case Form::kProjected:
      in.push_back(draw({s.router(), s.D}, type, target, seed++, unit));
      in.push_back(draw({s.router(), s.D}, type, target, seed++, unit));
      in.push_back(draw({1}, at::kFloat, target, seed++));
      break;
    case Form::kDirection:
      in.push_back(draw({s.M, s.D}, type, target, seed++));
      in.push_back(draw({s.n}, at::kFloat, target, seed++));
      break;
    case Form::kPseudoQuery:
      in.push_back(draw({s.D}, at::kFloat, target, seed++, unit));
      in.push_back(1 + draw({s.D}, at::kFloat, target, seed++, 0.1));
      break;
  }
  return in;
}

struct Inputs {
  Tensors sources;
  at::Tensor nulls, beta;
  const at::Tensor* rest;  // what the form adds
};

Inputs split(const Tensors& in, std::int64_t n) {
  const auto at = static_cast<std::size_t>(n);
  return {{in.begin(), in.begin() + n}, in[at], in[at + 1], &in[at + 2]};
}

at::Tensor recency(const at::Tensor& bias, std::int64_t n) {
  return bias * (at::arange(n, bias.options().requires_grad(false)) / static_cast<double>(n - 1));
}

Tensors ours(const Tensors& tensors, const Shape& s, Form form) {
  const auto in = split(tensors, s.n);
  DepthRouteInputs inputs;
  inputs.nulls = in.nulls;
  inputs.beta = in.beta;
  DepthRouteOptions options;
  options.normalizer.kind = Normalizer::kSoftmax1;
  switch (form) {
    case Form::kProjected:
      inputs.direction =
          oasis::linear(oasis::linear(in.sources.back(), in.rest[0]), in.rest[1].t());
      inputs.logit_bias = recency(in.rest[2], s.n);
      options.scale = 1 / std::sqrt(static_cast<double>(s.router()));
      break;
    case Form::kDirection:
      inputs.direction = in.rest[0];
      inputs.logit_bias = in.rest[1];
      options.scale = 1 / std::sqrt(static_cast<double>(s.D));
      break;
    case Form::kPseudoQuery:
      inputs.direction = (in.rest[0] * in.rest[1]).unsqueeze(0);
      options.normalize_keys = true;
      options.eps = kEps;
      break;
  }
  return {std::get<0>(depth_route(in.sources, inputs, options))};
}

Tensors eager(const Tensors& tensors, const Shape& s, Form form) {
  const auto in = split(tensors, s.n);
  const auto stacked = at::stack(in.sources, 1);  // [M, n, D]
  at::Tensor logits;
  switch (form) {
    case Form::kProjected: {
      const auto query = at::linear(in.sources.back(), in.rest[0]).unsqueeze(1);
      const auto keys = at::linear(stacked, in.rest[1]);  // [M, n, A]
      logits = wide((query * keys).sum(-1)) / std::sqrt(static_cast<double>(s.router())) +
               recency(in.rest[2], s.n);
      break;
    }
    case Form::kDirection:
      logits =
          wide((in.rest[0].unsqueeze(1) * stacked).sum(-1)) / std::sqrt(static_cast<double>(s.D)) +
          in.rest[1];
      break;
    case Form::kPseudoQuery:
      logits = (eager_normalize_rms(stacked, kEps) * in.rest[1] * in.rest[0]).sum(-1);
      break;
  }
  const auto nulls = in.nulls.t();
  logits = logits - in.beta * (nulls - nulls.mean(-1, /*keepdim=*/true));
  const auto weights = eager_normalize(at::clamp(logits, -kDepthLogitClamp, kDepthLogitClamp),
                                       {Normalizer::kSoftmax1});
  return {(weights.probs.to(stacked.scalar_type()).unsqueeze(-1) * stacked).sum(1)};
}

Case make_case(const Shape& s, Form form, at::ScalarType type, const Target& target) {
  Case c;
  c.operation = "depth_route";
  c.variant = form == Form::kProjected   ? "projected"
              : form == Form::kDirection ? "direction"
                                         : "pseudo_query";
  c.shape = fmt::format("n{} M{} D{}", s.n, s.M, s.D);
  c.dtype = type;
  c.draw = [=] { return make_inputs(s, form, type, target); };
  c.ours = [=](const Tensors& in) { return ours(in, s, form); };
  c.eager = [=](const Tensors& in) { return eager(in, s, form); };
  c.libraries = {{"copy", {}}};
  c.input_batch.assign(static_cast<std::size_t>(s.n), 0);
  c.input_batch.insert(c.input_batch.end(), {1, kShared});
  if (form == Form::kDirection) {
    c.input_batch.insert(c.input_batch.end(), {0, kShared});
  } else {
    c.input_batch.insert(c.input_batch.end(), form == Form::kProjected ? 3 : 2, kShared);
  }
  c.output_batch = {0};
  c.checked_batch = 2048;
  // Sources read twice, their gradients written; the result written, its gradient read.
  const auto size = static_cast<double>(s.M * s.D);
  c.bytes = static_cast<double>(3 * s.n + 2) * size * bytes_of(type);
  c.flops = 3 * 4 * static_cast<double>(s.n) * size;  // logits and sum, three times
  if (form == Form::kProjected) c.flops += 3 * 4 * size * static_cast<double>(s.router());
  return c;
}

}  // namespace

std::vector<Case> depth_route_cases(const Target& target) {
  std::vector<Case> cases;
  for (const auto type : target.dtypes()) {
    for (const auto form : {Form::kProjected, Form::kDirection, Form::kPseudoQuery}) {
      for (const auto& shape : shapes(target)) {
        cases.push_back(make_case(shape, form, type, target));
      }
    }
  }
  return cases;
}

}  // namespace oasis::bench
