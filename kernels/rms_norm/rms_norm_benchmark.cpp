// RMSNorm, forward and backward.
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

Case make_case(const Shape& s, at::ScalarType type, const Target& target) {
  Case c;
  c.operation = "rms_norm";
  c.shape = fmt::format("M{} D{}", s.M, s.D);
  c.dtype = type;
  c.draw = [=] {  // weights stay float32 while the residual stream is bfloat16
    return Tensors{draw({s.M, s.D}, type, target, 1), 1 + draw({s.D}, at::kFloat, target, 2, 0.1)};
  };
  c.ours = [](const Tensors& in) { return Tensors{rms_norm(in[0], in[1], kEps)}; };
  c.eager = [](const Tensors& in) {
    const auto dtype = in[0].scalar_type();
    return Tensors{eager_normalize_rms(in[0], kEps).to(dtype) * in[1].to(dtype)};
  };
  c.libraries = {{"at::rms_norm", [](const Tensors& in) {
                    return Tensors{
                        at::rms_norm(in[0], {in[0].size(-1)}, in[1].to(in[0].scalar_type()), kEps)};
                  }}};
  c.input_batch = {0, kShared};
  c.output_batch = {0};
  c.bytes = 5 * static_cast<double>(s.M * s.D) * bytes_of(type);  // x, y; x, ∂y, ∂x
  c.flops = 10 * static_cast<double>(s.M * s.D);
  return c;
}

}  // namespace

std::vector<Case> rms_norm_cases(const Target& target) {
  std::vector<Case> cases;
  for (const auto type : target.dtypes()) {
    for (const auto& shape : shapes(target)) cases.push_back(make_case(shape, type, target));
  }
  return cases;
}

}  // namespace oasis::bench
