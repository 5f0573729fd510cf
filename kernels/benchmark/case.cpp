#include "kernels/benchmark/case.h"

#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/randn_like.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/ScalarType.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <iterator>
#include <optional>

#include "support/error.h"

namespace oasis::bench {

std::vector<at::ScalarType> Target::dtypes() const {
  if (!cuda()) return {at::kFloat};
  return quick ? std::vector{at::kBFloat16, at::kFloat} : std::vector{at::kBFloat16};
}

std::string dtype_name(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return "float32";
    case at::kDouble:
      return "float64";
    case at::kBFloat16:
      return "bfloat16";
    case at::kHalf:
      return "float16";
    default:
      throw failed("benchmark: no name for type {}", c10::toString(type));
  }
}

double bytes_of(at::ScalarType type) {
  return static_cast<double>(c10::elementSize(type));
}

void seed_generator(at::Device device, std::uint64_t seed) {
  at::Generator generator = at::globalContext().defaultGenerator(device);
  generator.set_current_seed(seed);
}

at::Tensor draw(at::IntArrayRef shape, at::ScalarType type, const Target& target,
                std::uint64_t seed, double scale) {
  seed_generator(target.device, seed);
  return (at::randn(shape, at::TensorOptions(at::kFloat).device(target.device)) * scale).to(type);
}

Tensors narrowed(const Tensors& tensors, const std::vector<int>& batch, std::int64_t count) {
  Tensors parts = tensors;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    if (batch[i] != kShared) parts[i] = tensors[i].narrow(batch[i], 0, count);
  }
  return parts;
}

std::int64_t batch_size(const Tensors& inputs, const std::vector<int>& batch) {
  for (std::size_t i = 0; i < batch.size(); ++i) {
    if (batch[i] != kShared) return inputs[i].size(batch[i]);
  }
  return 1;
}

Tensors cotangents_for(const Tensors& outputs) {
  Tensors cotangents;
  std::uint64_t seed = 1000;
  for (const auto& output : outputs) {
    seed_generator(output.device(), seed++);
    cotangents.push_back(at::randn_like(output.detach()));
  }
  return cotangents;
}

Repetition::Repetition(Operation operation, const Tensors& inputs, bool backward)
    : operation_(std::move(operation)), backward_(backward) {
  for (const auto& input : inputs) {
    arguments_.push_back(input.detach());
    if (!input.is_floating_point()) continue;
    leaves_.push_back(arguments_.back().requires_grad_(backward));
  }
}

Repetition::Result Repetition::operator()() const {
  const at::AutoGradMode mode(backward_);
  Result result{operation_(arguments_), {}};
  if (!backward_) return result;
  Tensors differentiated, weights;
  for (std::size_t i = 0; i < result.outputs.size(); ++i) {
    if (!result.outputs[i].requires_grad()) continue;
    differentiated.push_back(result.outputs[i]);
    weights.push_back(cotangents_[i]);
  }
  result.gradients = torch::autograd::grad(differentiated, leaves_, weights, std::nullopt, false,
                                           /*allow_unused=*/true);
  return result;
}

Tensors outputs_of(const Operation& operation, const Tensors& inputs) {
  return Repetition(operation, inputs, false)().outputs;
}

Tensors run(const Operation& operation, const Tensors& inputs, const Tensors& cotangents,
            bool backward) {
  Repetition repetition(operation, inputs, backward);
  repetition.set_cotangents(cotangents);
  auto [results, gradients] = repetition();
  for (auto& output : results) output = output.detach();
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    results.push_back(gradients[i].defined() ? gradients[i]
                                             : at::zeros_like(repetition.leaves()[i]));
  }
  return results;
}

std::vector<Case> all_cases(const Target& target) {
  std::vector<Case> all;
  for (const auto operation : {attention_cases, depth_route_cases, rms_norm_cases, rope_cases,
                               gated_product_cases, linear_cross_entropy_cases,
                               activation_stats_cases, fake_quantize_cases, integer_linear_cases}) {
    auto cases = operation(target);
    std::ranges::move(cases, std::back_inserter(all));
  }
  return all;
}

}  // namespace oasis::bench
