// Simulated 8-bit quantization of an activation, forward and backward.
#include <ATen/TensorOperators.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/fake_quantize_per_tensor_affine.h>
#include <ATen/ops/round.h>
#include <fmt/format.h>

#include <cmath>

#include "kernels/benchmark/case.h"
#include "kernels/fake_quantize/fake_quantize.h"

namespace oasis::bench {
namespace {

constexpr double kLow = -2.5, kHigh = 3.5;  // some values lie outside
constexpr std::int64_t kBits = 8, kHighest = 255;
constexpr double kScale = (kHigh - kLow) / static_cast<double>(kHighest);
const auto kZero = static_cast<std::int64_t>(std::nearbyint(-kLow / kScale));

// With the straight-through gradient: rounding counts as a constant that is added.
Tensors eager(const Tensors& in) {
  const auto exact = in[0] / kScale + kZero;
  const auto code = exact + (at::round(in[0] / kScale) + kZero - exact).detach();
  return {(at::clamp(code, 0, kHighest) - kZero) * kScale};
}

}  // namespace

std::vector<Case> fake_quantize_cases(const Target& target) {
  const std::int64_t M =
      target.cuda() ? (target.quick ? 8192 : 24576) : (target.quick ? 1024 : 4096);
  const std::int64_t D = 768;
  std::vector<Case> cases;
  for (const auto type : target.dtypes()) {
    Case c;
    c.operation = "fake_quantize";
    c.shape = fmt::format("M{} D{}", M, D);
    c.dtype = type;
    c.draw = [=] { return Tensors{draw({M, D}, type, target, 1)}; };
    c.ours = [](const Tensors& in) { return Tensors{fake_quantize(in[0], kLow, kHigh, kBits)}; };
    c.eager = eager;
    c.libraries = {{"at::fake_quantize", [](const Tensors& in) {
                      return Tensors{
                          at::fake_quantize_per_tensor_affine(in[0], kScale, kZero, 0, kHighest)};
                    }}};
    c.input_batch = {0};
    c.output_batch = {0};
    const auto size = static_cast<double>(M * D);
    c.bytes = 5 * size * bytes_of(type);  // x, x̂; x, ∂x̂, ∂x
    c.flops = 8 * size;
    cases.push_back(std::move(c));
  }
  return cases;
}

}  // namespace oasis::bench
