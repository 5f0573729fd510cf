// Outlier statistics of an activation, per token and per sequence.
#include <ATen/TensorOperators.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/sum.h>
#include <fmt/format.h>

#include "kernels/activation_stats/activation_stats.h"
#include "kernels/benchmark/case.h"
#include "kernels/benchmark/eager.h"

namespace oasis::bench {
namespace {

// One pass for each statistic, over the last dimension.
at::Tensor eager_stats(const at::Tensor& x) {
  const auto mean = x.mean({-1}, /*keepdim=*/true);
  const auto delta = x - mean;
  return at::stack({x.abs().amax({-1}), mean.squeeze(-1), delta.pow(2).sum({-1}),
                    delta.pow(3).sum({-1}), delta.pow(4).sum({-1})},
                   -1);
}

}  // namespace

std::vector<Case> activation_stats_cases(const Target& target) {
  const std::int64_t B = target.cuda() ? (target.quick ? 16 : 48) : (target.quick ? 2 : 8);
  const std::int64_t T = 512, D = 768;
  std::vector<Case> cases;
  for (const auto type : target.dtypes()) {
    Case c;
    c.operation = "activation_stats";
    c.shape = fmt::format("B{} T{} D{}", B, T, D);
    c.dtype = type;
    c.draw = [=] { return Tensors{draw({B, T, D}, type, target, 1)}; };
    c.ours = [](const Tensors& in) {
      const auto [per_sequence, per_token] = activation_stats(in[0]);
      return Tensors{per_sequence, per_token};
    };
    c.eager = [](const Tensors& in) {
      const auto x = wide(in[0]);
      return Tensors{eager_stats(x.flatten(1)), eager_stats(x)};
    };
    c.libraries = {{"at::sum (one read)",
                    [](const Tensors& in) { return Tensors{at::sum(in[0], at::kFloat)}; }}};
    c.backward = false;
    c.input_batch = {0};
    c.output_batch = {0, 0};
    const auto size = static_cast<double>(B * T * D);
    c.bytes = size * bytes_of(type);
    c.flops = 9 * size;
    cases.push_back(std::move(c));
  }
  return cases;
}

}  // namespace oasis::bench
