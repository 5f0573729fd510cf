// RMSNorm, alone and after a residual sum, forward and backward.
#include <ATen/TensorOperators.h>
#include <ATen/ops/rms_norm.h>
#include <fmt/format.h>

#include "kernels/benchmark/case.h"
#include "kernels/benchmark/eager.h"
#include "kernels/rms_norm/rms_norm.h"

namespace oasis::bench {
namespace {

constexpr double kEps = 1e-6;

struct Shape {
  std::int64_t M, D;
};

std::vector<Shape> shapes(const Target& target) {
  if (target.cuda() && !target.quick) return {{24576, 768}, {16384, 2048}};
  if (target.cuda()) return {{8192, 768}};
  return {{target.quick ? 1024 : 4096, 768}};
}

at::Tensor eager(const at::Tensor& x, const at::Tensor& weight) {
  return eager_normalize_rms(x, kEps).to(x.scalar_type()) * weight.to(x.scalar_type());
}

at::Tensor library(const at::Tensor& x, const at::Tensor& weight) {
  return at::rms_norm(x, {x.size(-1)}, weight.to(x.scalar_type()), kEps);
}

Case make_case(const Shape& s, at::ScalarType type, const Target& target) {
  Case c;
  c.operation = "rms_norm";
  c.shape = fmt::format("M{} D{}", s.M, s.D);
  c.dtype = type;
  c.draw = [=] {  // weights stay float32 while the residual stream is bfloat16
    return Tensors{draw({s.M, s.D}, type, target, 1), 1 + draw({s.D}, at::kFloat, target, 2, 0.1)};
  };
  c.ours = [](const Tensors& in) { return Tensors{rms_norm(in[0], in[1], kEps)}; };
  c.eager = [](const Tensors& in) { return Tensors{eager(in[0], in[1])}; };
  c.libraries = {
      {"at::rms_norm", [](const Tensors& in) { return Tensors{library(in[0], in[1])}; }}};
  c.input_batch = {0, kShared};
  c.output_batch = {0};
  c.bytes = 5 * static_cast<double>(s.M * s.D) * bytes_of(type);  // x, y; x, ∂y, ∂x
  c.flops = 10 * static_cast<double>(s.M * s.D);
  return c;
}

// h = x + branch, y = rms_norm(h)
Case make_residual_case(const Shape& s, at::ScalarType type, const Target& target) {
  auto c = make_case(s, type, target);
  c.variant = "residual";
  c.draw = [=, plain = c.draw] {
    const auto in = plain();
    return Tensors{in[0], draw({s.M, s.D}, type, target, 3), in[1]};
  };
  c.ours = [](const Tensors& in) {
    const auto [h, y] = add_rms_norm(in[0], in[1], in[2], kEps);
    return Tensors{h, y};
  };
  c.eager = [](const Tensors& in) {
    const auto h = in[0] + in[1];
    return Tensors{h, eager(h, in[2])};
  };
  c.libraries = {{"at::add, at::rms_norm", [](const Tensors& in) {
                    const auto h = in[0] + in[1];
                    return Tensors{h, library(h, in[2])};
                  }}};
  c.input_batch = {0, 0, kShared};
  c.output_batch = {0, 0};
  c.bytes *= 8.0 / 5;  // x, branch, h, y; h, ∂h, ∂y and one gradient for both
  return c;
}

}  // namespace

std::vector<Case> rms_norm_cases(const Target& target) {
  std::vector<Case> cases;
  for (const auto type : target.dtypes()) {
    for (const auto& shape : shapes(target)) {
      cases.push_back(make_case(shape, type, target));
      cases.push_back(make_residual_case(shape, type, target));
    }
  }
  return cases;
}

}  // namespace oasis::bench
