// How a fast CPU path is held to its float64 reference, forward and backward.
//
// float64 within 1e-12 of the reference, relative to the norm. float32 loses at most twice what a
// composition of LibTorch operators loses, both judged by the reference on the same float32 values.
// What a small tensor loses is luck, so errors and norms are pooled over draws until enough numbers
// are in; and no float32 result can be expected to be closer than its own rounding, 2⁻²⁴ of its
// norm.
#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

namespace oasis::testing_support {

using Tensors = std::vector<at::Tensor>;
// Differentiable: inputs to outputs.
using Operation = std::function<Tensors(const Tensors&)>;

struct Outcome {
  Tensors outputs;
  Tensors gradients;  // of Σ outputs ∘ cotangents, one per input
};

// Inputs and cotangents to an outcome, all float64.
using Reference = std::function<Outcome(const Tensors& inputs, const Tensors& cotangents)>;

// Normal values that float32 holds exactly, as float64.
inline at::Tensor draw(at::IntArrayRef shape, double scale, uint64_t seed) {
  const auto generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  return (at::randn(shape, generator, at::TensorOptions(at::kFloat)) * scale).to(at::kDouble);
}

inline Outcome run(const Operation& operation, const Tensors& inputs, const Tensors& cotangents,
                   at::ScalarType type) {
  Tensors leaves, weights;
  for (const auto& x : inputs) {
    // Copies keep the strides of dense inputs.
    leaves.push_back(x.detach().to(type, false, /*copy=*/true).requires_grad_());
  }
  Outcome out;
  out.outputs = operation(leaves);
  for (const auto& c : cotangents) weights.push_back(c.to(type));
  out.gradients = torch::autograd::grad(out.outputs, leaves, weights, std::nullopt, false,
                                        /*allow_unused=*/true);
  for (size_t i = 0; i < leaves.size(); ++i) {
    if (!out.gradients[i].defined()) out.gradients[i] = at::zeros_like(leaves[i]);
  }
  return out;
}

// Squared errors and norms of one result over several draws.
struct Pool {
  double wide = 0, fast = 0, library = 0, norm = 0;
  int64_t count = 0;
};

inline double squared(const at::Tensor& x) {
  return x.to(at::kDouble).square().sum().item<double>();
}

struct Case {
  Tensors inputs;      // float64, each value a float32
  Tensors cotangents;  // the same, one per output
};

constexpr int64_t kEnoughValues = 300;
constexpr int kMostDraws = 25;
constexpr double kFloat64Limit = 1e-12;
const double kFloat32Rounding = std::ldexp(1.0, -24);

using DrawCase = std::function<Case(uint64_t seed)>;

inline void expect_matches(const Operation& fast, const Operation& library,
                           const Reference& reference, const DrawCase& draw_case,
                           int most_draws = kMostDraws) {
  std::vector<Pool> pools;
  const auto enough = [&] {
    return !pools.empty() &&
           std::ranges::all_of(pools, [](const Pool& p) { return p.count >= kEnoughValues; });
  };
  for (int seed = 0; seed < most_draws && !enough(); ++seed) {
    const auto c = draw_case(static_cast<uint64_t>(seed));
    const auto expected = reference(c.inputs, c.cotangents);
    const auto wide = run(fast, c.inputs, c.cotangents, at::kDouble);
    const auto narrow = run(fast, c.inputs, c.cotangents, at::kFloat);
    const auto rival = run(library, c.inputs, c.cotangents, at::kFloat);
    const auto all = [](const Outcome& o) {
      Tensors list = o.outputs;
      list.insert(list.end(), o.gradients.begin(), o.gradients.end());
      return list;
    };
    const auto truth = all(expected), doubles = all(wide), floats = all(narrow),
               rivals = all(rival);
    ASSERT_EQ(truth.size(), doubles.size());
    pools.resize(truth.size());
    for (size_t i = 0; i < truth.size(); ++i) {
      SCOPED_TRACE(testing::Message() << "result " << i << " of " << expected.outputs.size()
                                      << " outputs and the rest gradients, draw " << seed);
      ASSERT_EQ(doubles[i].sizes(), truth[i].sizes());
      ASSERT_EQ(doubles[i].scalar_type(), at::kDouble);
      ASSERT_EQ(floats[i].scalar_type(), at::kFloat);
      pools[i].wide += squared(doubles[i] - truth[i]);
      pools[i].fast += squared(floats[i].to(at::kDouble) - truth[i]);
      pools[i].library += squared(rivals[i].to(at::kDouble) - truth[i]);
      pools[i].norm += squared(truth[i]);
      pools[i].count += truth[i].numel();
    }
  }
  for (size_t i = 0; i < pools.size(); ++i) {
    const auto& p = pools[i];
    EXPECT_LE(std::sqrt(p.wide), kFloat64Limit * std::sqrt(p.norm)) << "float64, result " << i;
    const double floor = kFloat32Rounding * std::sqrt(p.norm);
    EXPECT_LE(std::sqrt(p.fast), 2 * std::max(std::sqrt(p.library), floor))
        << "float32, result " << i << " (relative: fast " << std::sqrt(p.fast / p.norm)
        << ", library " << std::sqrt(p.library / p.norm) << ")";
  }
}

// The message of the c10::Error that `call` throws.
inline std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const c10::Error& error) {
    return error.what_without_backtrace();
  }
  return "no error";
}

inline bool identical(const Outcome& a, const Outcome& b) {
  const auto same = [](const Tensors& x, const Tensors& y) {
    return std::ranges::equal(x, y, [](const auto& p, const auto& q) { return at::equal(p, q); });
  };
  return same(a.outputs, b.outputs) && same(a.gradients, b.gradients);
}

// Outcomes with one and with two threads are the same to the last bit, in float32 and float64.
inline void expect_independent_of_threads(const Operation& operation, const Case& c) {
  const int before = at::get_num_threads();
  for (const auto type : {at::kFloat, at::kDouble}) {
    at::set_num_threads(1);
    const auto alone = run(operation, c.inputs, c.cotangents, type);
    at::set_num_threads(2);
    EXPECT_TRUE(identical(alone, run(operation, c.inputs, c.cotangents, type))) << type;
  }
  at::set_num_threads(before);
}

}  // namespace oasis::testing_support
