// Linear layers in integers, with the quantization of their input: beside the simulation of the
// same, and LibTorch's layer without quantization. Operations are counted as multiply-adds of the
// layer's own type, so integers may take less time than those take at best.
#include <ATen/TensorOperators.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/repeat_interleave.h>
#include <ATen/ops/round.h>
#include <fmt/format.h>

#include "kernels/benchmark/case.h"
#include "kernels/benchmark/eager.h"
#include "kernels/integer_linear/activation_grid.h"
#include "kernels/integer_linear/integer_linear.h"
#include "kernels/linear/linear.h"

namespace oasis::bench {
namespace {

constexpr double kLow = -3, kHigh = 3;  // some values lie outside

struct Shape {
  std::int64_t M, N, K;
};

struct Form {
  const char* name;
  std::int64_t bits;  // of weights and activations
  bool dynamic, grouped;
};

constexpr Form kForms[] = {{"W8A8 static", 8, false, false},
                           {"W8A8 dynamic", 8, true, false},
                           {"W4A4 dynamic", 4, true, false},
                           {"W4A4 dynamic group64", 4, true, true}};

// A layer of 4096, and the widths of SmolLM2-135M: q with k and v, gate with up, down.
std::vector<Shape> shapes(const Target& target) {
  if (target.cuda() && !target.quick) {
    return {{4096, 4096, 4096},
            {8, 4096, 4096},
            {8192, 960, 576},
            {8192, 3072, 576},
            {8192, 576, 1536}};
  }
  if (target.cuda() || !target.quick) return {{512, 960, 576}, {512, 3072, 576}, {512, 576, 1536}};
  return {{128, 576, 576}};
}

enum Input { kX, kPlain, kCodes, kScale, kSums };

Tensors inputs(const Shape& s, const Form& form, at::ScalarType type, const Target& target) {
  const auto plain = draw({s.N, s.K}, type, target, 2, 0.04);
  const auto magnitude = plain.to(at::kFloat).abs();
  const auto most = static_cast<double>((std::int64_t{1} << (form.bits - 1)) - 1);
  const auto scale =
      (form.grouped ? magnitude.view({s.N, -1, kWeightGroup}).amax(2) : magnitude.amax(1)) / most;
  const auto codes = quantize_weight(plain, scale, form.bits);
  const auto weight = make_integer_weight(form.bits == 4 ? pack_nibbles(codes) : codes, scale, s.K);
  return {draw({s.M, s.K}, type, target, 1), plain, weight.codes, weight.scale, weight.sums};
}

Tensors ours(const Tensors& in, const Form& form) {
  const auto x = form.dynamic ? quantize_dynamic(in[kX], form.bits)
                              : quantize_static(in[kX], kLow, kHigh, form.bits);
  const IntegerWeight weight{in[kCodes], in[kScale], in[kSums], in[kX].size(1)};
  return {integer_linear(x, weight, {}, in[kX].scalar_type())};
}

at::Tensor simulated_activation(const at::Tensor& x, const Form& form) {
  const auto most = static_cast<double>((std::int64_t{1} << (form.bits - 1)) - 1);
  if (form.dynamic) {
    const auto scale = x.abs().amax(1, true) / most;
    return at::clamp(at::round(x / scale), -most - 1, most) * scale;
  }
  const auto grid = activation_grid(kLow, kHigh, form.bits);
  const auto codes = at::clamp(at::round(x / grid.scale) + grid.zero, 0, grid.highest);
  return (codes - grid.zero) * grid.scale;
}

Tensors eager(const Tensors& in, const Form& form) {
  const auto x = wide(in[kX]);
  const auto codes = form.bits == 4 ? unpack_nibbles(in[kCodes], x.size(1)) : in[kCodes];
  const auto scale = in[kScale].to(x.scalar_type());
  const auto weight =
      codes * (form.grouped ? scale.repeat_interleave(kWeightGroup, 1) : scale.unsqueeze(1));
  return {at::linear(simulated_activation(x, form), weight).to(in[kX].scalar_type())};
}

Case make_case(const Shape& s, const Form& form, at::ScalarType type, const Target& target) {
  Case c;
  c.operation = "integer_linear";
  c.variant = form.name;
  c.shape = fmt::format("M{} N{} K{}", s.M, s.N, s.K);
  c.dtype = type;
  c.draw = [=] { return inputs(s, form, type, target); };
  c.ours = [=](const Tensors& in) { return ours(in, form); };
  c.eager = [=](const Tensors& in) { return eager(in, form); };
  c.libraries = {{"linear without quantization",
                  [](const Tensors& in) { return Tensors{oasis::linear(in[kX], in[kPlain])}; }}};
  c.input_batch = {0, kShared, kShared, kShared, kShared};
  c.output_batch = {0};
  c.backward = false;
  const auto size = [](std::int64_t a, std::int64_t b) { return static_cast<double>(a * b); };
  c.bytes = (size(s.M, s.K) + size(s.M, s.N)) * bytes_of(type) +
            size(s.N, s.K) * static_cast<double>(form.bits) / 8;
  c.flops = 2 * size(s.M, s.N) * static_cast<double>(s.K);
  return c;
}

}  // namespace

std::vector<Case> integer_linear_cases(const Target& target) {
  std::vector<Case> cases;
  for (const auto type : target.dtypes()) {
    for (const auto& shape : shapes(target)) {
      for (const auto& form : kForms) cases.push_back(make_case(shape, form, type, target));
    }
  }
  return cases;
}

}  // namespace oasis::bench
