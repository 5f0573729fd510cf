// Cross-entropy of a language-model head, forward and backward.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/linear.h>
#include <fmt/format.h>

#include "kernels/benchmark/case.h"
#include "kernels/benchmark/eager.h"
#include "kernels/cross_entropy/linear_cross_entropy.h"

namespace oasis::bench {
namespace {

struct Shape {
  std::int64_t M, D, V;
};

Shape shape_of(const Target& target) {
  if (target.cuda()) return target.quick ? Shape{4096, 768, 8192} : Shape{24576, 768, 32000};
  return target.quick ? Shape{256, 256, 4096} : Shape{1024, 768, 16384};
}

at::Tensor logits_of(const Tensors& in) {
  return at::linear(in[0], in[1].to(in[0].scalar_type()));
}

}  // namespace

std::vector<Case> linear_cross_entropy_cases(const Target& target) {
  const auto s = shape_of(target);
  std::vector<Case> cases;
  for (const auto type : target.dtypes()) {
    Case c;
    c.operation = "linear_cross_entropy";
    c.shape = fmt::format("M{} D{} V{}", s.M, s.D, s.V);
    c.dtype = type;
    c.draw = [=] {  // weights stay float32 while the hidden states are bfloat16
      const auto index = at::arange(s.M, at::TensorOptions(at::kLong).device(target.device));
      return Tensors{draw({s.M, s.D}, type, target, 1),
                     draw({s.V, s.D}, at::kFloat, target, 2, 0.03), (index * 7919).remainder(s.V)};
    };
    c.ours = [](const Tensors& in) {
      return Tensors{std::get<0>(linear_cross_entropy(in[0], in[1], in[2]))};
    };
    c.eager = [](const Tensors& in) {
      return Tensors{at::cross_entropy_loss(wide(logits_of(in)), in[2])};
    };
    c.libraries = {{"at::cross_entropy", [](const Tensors& in) {
                      return Tensors{at::cross_entropy_loss(logits_of(in), in[2])};
                    }}};
    const auto M = static_cast<double>(s.M), D = static_cast<double>(s.D),
               V = static_cast<double>(s.V);
    c.bytes = 2 * M * D * bytes_of(type) + 2 * V * D * bytes_of(at::kFloat);
    c.flops = 6 * M * D * V;
    cases.push_back(std::move(c));
  }
  return cases;
}

}  // namespace oasis::bench
