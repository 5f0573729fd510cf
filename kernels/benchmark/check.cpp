#include "kernels/benchmark/check.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/randn_like.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace oasis::bench {
namespace {

double size_of(const at::Tensor& x) {
  return x.to(at::kDouble).norm().item<double>();
}

double difference(const at::Tensor& x, const at::Tensor& truth) {
  return size_of(x.to(at::kDouble) - truth);
}

// Half of the distance from 1 to the next number.
double rounding(at::ScalarType type) {
  switch (type) {
    case at::kBFloat16:
      return std::ldexp(1.0, -8);
    case at::kHalf:
      return std::ldexp(1.0, -11);
    case at::kFloat:
      return std::ldexp(1.0, -24);
    default:
      return std::ldexp(1.0, -53);
  }
}

// What a tensor of few numbers loses is luck: below so many, errors are pooled over neighbouring
// inputs.
constexpr std::int64_t kEnoughValues = 300;
constexpr int kNeighbours = 6;

Tensors neighbouring(const Tensors& inputs, std::uint64_t seed) {
  Tensors moved;
  for (const auto& x : inputs) {
    seed_generator(x.device(), seed++);
    moved.push_back(x.is_floating_point() ? x * (1 + at::randn_like(x) / 100) : x);
  }
  return moved;
}

Tensors in_float64(Tensors tensors) {
  for (auto& x : tensors) {
    if (x.is_floating_point()) x = x.to(at::kDouble);
  }
  return tensors;
}

// The batch of each result of `run`: the outputs, then the floating inputs.
std::vector<int> batch_of_results(const Case& c, const Tensors& inputs) {
  if (c.input_batch.empty()) return {};
  auto batch = c.output_batch;
  for (std::size_t i = 0; i < inputs.size() && c.backward; ++i) {
    if (inputs[i].is_floating_point()) batch.push_back(c.input_batch[i]);
  }
  return batch;
}

// The whole batch's cotangents, zero beyond the part that is checked, so that what is summed over
// the batch is summed over that part.
Tensors zero_beyond(const Tensors& cotangents, const std::vector<int>& batch, std::int64_t count) {
  auto part = cotangents;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    if (batch[i] == kShared) continue;
    part[i] = at::zeros_like(cotangents[i]);
    part[i].narrow(batch[i], 0, count).copy_(cotangents[i].narrow(batch[i], 0, count));
  }
  return part;
}

// The eager formulation in float64 and in the type of the case.
struct Eager {
  Tensors truth, rival;

  Eager(const Case& c, const Tensors& inputs, const Tensors& cotangents)
      : truth(run(c.eager, in_float64(inputs), in_float64(cotangents), c.backward)) {
    const auto outputs = outputs_of(c.eager, inputs);
    Tensors own_cotangents;  // in the types that it happens to return
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      own_cotangents.push_back(cotangents[i].to(outputs[i].scalar_type()));
    }
    rival = run(c.eager, inputs, own_cotangents, c.backward);
  }
};

// Squared errors and norms of one result over the draws.
struct Pool {
  double ours = 0, eager = 0, size = 0;

  void add(const at::Tensor& found, const at::Tensor& rival, const at::Tensor& truth) {
    ours += std::pow(difference(found, truth), 2);
    eager += std::pow(difference(rival, truth), 2);
    size += std::pow(size_of(truth), 2);
  }
};

void pool_neighbours(const Case& c, const Tensors& inputs, const Tensors& cotangents,
                     std::vector<Pool>& pools, const std::vector<bool>& few) {
  if (std::ranges::find(few, true) == few.end()) return;
  for (int k = 1; k <= kNeighbours; ++k) {
    const auto draw = neighbouring(inputs, static_cast<std::uint64_t>(100 * k));
    const auto ours = run(c.ours, draw, cotangents, c.backward);
    const Eager eager(c, draw, cotangents);
    for (std::size_t i = 0; i < pools.size(); ++i) {
      if (few[i]) pools[i].add(ours[i], eager.rival[i], eager.truth[i]);
    }
  }
}

}  // namespace

std::string check(const Case& c, const Tensors& inputs) {
  const auto whole = batch_size(inputs, c.input_batch);
  const auto count = c.checked_batch == 0 ? whole : std::min(whole, c.checked_batch);
  const auto part = narrowed(inputs, c.input_batch, count);

  const auto outputs = outputs_of(c.ours, inputs);
  const auto cotangents = cotangents_for(outputs);
  const auto part_cotangents = narrowed(cotangents, c.output_batch, count);
  const auto expected = outputs_of(c.eager, part);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (i >= outputs.size() || part_cotangents[i].sizes() != expected[i].sizes()) {
      return fmt::format("output {} has another shape than the eager formulation's", i);
    }
  }
  const auto checked = zero_beyond(cotangents, c.output_batch, count);
  const auto ours =
      narrowed(run(c.ours, inputs, checked, c.backward), batch_of_results(c, inputs), count);
  const Eager eager(c, part, part_cotangents);
  std::vector<Pool> pools(ours.size());
  std::vector<bool> few(ours.size());
  for (std::size_t i = 0; i < ours.size(); ++i) {
    pools[i].add(ours[i], eager.rival[i], eager.truth[i]);
    few[i] = ours[i].numel() < kEnoughValues;
  }
  pool_neighbours(c, part, part_cotangents, pools, few);

  for (std::size_t i = 0; i < ours.size(); ++i) {
    const double size = std::sqrt(pools[i].size);
    const double error = std::sqrt(pools[i].ours), rival = std::sqrt(pools[i].eager);
    const double limit = 2 * std::max(rival, rounding(ours[i].scalar_type()) * size);
    if (!(error <= limit)) {  // NaN fails too
      return fmt::format(
          "{} is off by {:.2e} (relative), more than twice the eager formulation's {:.2e}",
          i < outputs.size() ? fmt::format("output {}", i)
                             : fmt::format("gradient {}", i - outputs.size()),
          error / size, rival / size);
    }
  }
  return "";
}

}  // namespace oasis::bench
