// Rotary embedding, alone and after the QK norm, forward and backward.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/pow.h>
#include <fmt/format.h>

#include "kernels/benchmark/case.h"
#include "kernels/benchmark/eager.h"
#include "kernels/rope/rope.h"

namespace oasis::bench {
namespace {

constexpr double kTheta = 10000, kEps = 1e-6;

struct Shape {
  std::int64_t B, H, T, d;
};

std::vector<Shape> shapes(const Target& target) {
  if (target.cuda() && !target.quick) return {{48, 12, 512, 64}, {8, 32, 2048, 64}};
  if (target.cuda()) return {{8, 12, 512, 64}};
  return {{target.quick ? 1 : 4, 12, 512, 64}};
}

at::Tensor eager(const at::Tensor& x) {
  const auto length = x.size(2), size = x.size(3), half = size / 2;
  const auto options = wide(x).options().requires_grad(false);
  const auto frequency =
      at::pow(kTheta, at::arange(0, size, 2, options) / -static_cast<double>(size));
  const auto angle = at::outer(at::arange(length, options), frequency);
  const auto both = at::cat({angle, angle}, -1);
  const auto turned = at::cat({-x.slice(-1, half), x.slice(-1, 0, half)}, -1);
  return x * both.cos().to(x.scalar_type()) + turned * both.sin().to(x.scalar_type());
}

Case make_case(const Shape& s, at::ScalarType type, const Target& target) {
  Case c;
  c.operation = "rope";
  c.shape = fmt::format("B{} H{} T{} d{}", s.B, s.H, s.T, s.d);
  c.dtype = type;
  c.draw = [=] {  // as a projection leaves it: [B,T,H,d] in memory
    return Tensors{draw({s.B, s.T, s.H, s.d}, type, target, 1).transpose(1, 2)};
  };
  c.ours = [](const Tensors& in) { return Tensors{rope(in[0], kTheta)}; };
  c.eager = [](const Tensors& in) { return Tensors{eager(in[0])}; };
  c.libraries = {{"copy", {}}};
  c.input_batch = {0};
  c.output_batch = {0};
  c.bytes = 4 * static_cast<double>(s.B * s.H * s.T * s.d) * bytes_of(type);
  c.flops = 6 * static_cast<double>(s.B * s.H * s.T * s.d);
  return c;
}

Case make_norm_case(const Shape& s, at::ScalarType type, const Target& target) {
  auto c = make_case(s, type, target);
  c.variant = "qk_norm";
  c.draw = [=, plain = c.draw] {
    return Tensors{plain()[0], 1 + draw({s.d}, at::kFloat, target, 2, 0.1)};
  };
  c.ours = [](const Tensors& in) { return Tensors{rms_norm_rope(in[0], in[1], kEps, kTheta)}; };
  c.eager = [](const Tensors& in) {
    const auto type = in[0].scalar_type();
    return Tensors{eager(eager_normalize_rms(in[0], kEps).to(type) * in[1].to(type))};
  };
  c.input_batch = {0, kShared};
  c.bytes *= 5.0 / 4;  // x once more in the backward pass
  c.flops *= 2;
  return c;
}

}  // namespace

std::vector<Case> rope_cases(const Target& target) {
  std::vector<Case> cases;
  for (const auto type : target.dtypes()) {
    for (const auto& shape : shapes(target)) {
      cases.push_back(make_case(shape, type, target));
      cases.push_back(make_norm_case(shape, type, target));
    }
  }
  return cases;
}

}  // namespace oasis::bench
