// The gated product of a SwiGLU MLP, forward and backward.
#include <ATen/TensorOperators.h>
#include <ATen/ops/silu.h>
#include <fmt/format.h>

#include "kernels/benchmark/case.h"
#include "kernels/gated_mlp/gated_product.h"

namespace oasis::bench {

std::vector<Case> gated_product_cases(const Target& target) {
  const std::int64_t M =
      target.cuda() ? (target.quick ? 8192 : 24576) : (target.quick ? 512 : 2048);
  const std::int64_t I = 2048;
  std::vector<Case> cases;
  for (const auto type : target.dtypes()) {
    Case c;
    c.operation = "gated_product";
    c.shape = fmt::format("M{} I{}", M, I);
    c.dtype = type;
    c.draw = [=] { return Tensors{draw({M, I}, type, target, 1), draw({M, I}, type, target, 2)}; };
    c.ours = [](const Tensors& in) { return Tensors{gated_product(in[0], in[1])}; };
    c.eager = [](const Tensors& in) { return Tensors{at::silu(in[0]) * in[1]}; };
    c.libraries = {{"copy", {}}};
    c.input_batch = {0, 0};
    c.output_batch = {0};
    const auto size = static_cast<double>(M * I);
    c.bytes = 8 * size * bytes_of(type);  // gate, up, out; gate, up, ∂out and two gradients
    c.flops = 15 * size;
    cases.push_back(std::move(c));
  }
  return cases;
}

}  // namespace oasis::bench
