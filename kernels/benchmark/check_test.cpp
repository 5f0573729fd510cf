// The check must catch a wrong kernel, whichever way it is wrong.
#include "kernels/benchmark/check.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <limits>
#include <set>

#include "kernels/benchmark/benchmark.h"
#include "kernels/benchmark/eager.h"

namespace oasis::bench {
namespace {

// y = w ∘ x² with 8 independent rows.
Case squares(Operation ours) {
  Case c;
  c.operation = "squares";
  c.draw = [] { return Tensors{draw({8, 50}, at::kFloat, {}, 1), draw({50}, at::kFloat, {}, 2)}; };
  c.eager = [](const Tensors& in) { return Tensors{in[1] * in[0] * in[0]}; };
  c.ours = std::move(ours);
  c.input_batch = {0, kShared};
  c.output_batch = {0};
  return c;
}

std::string failure(const Operation& ours) {
  const auto c = squares(ours);
  return check(c, c.draw());
}

bool holds(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(CheckTest, ARightKernelPasses) {
  EXPECT_EQ(failure([](const Tensors& in) { return Tensors{in[0] * in[0] * in[1]}; }), "");
}

TEST(CheckTest, AWrongValueIsNamed) {
  const auto text =
      failure([](const Tensors& in) { return Tensors{in[0] * in[0] * in[1] * 1.0001}; });
  EXPECT_TRUE(holds(text, "output 0")) << text;
  EXPECT_TRUE(holds(text, "1.00e-04")) << text;
}

TEST(CheckTest, AWrongGradientIsNamed) {
  // The value is right; half of the gradient of x is missing.
  const auto text =
      failure([](const Tensors& in) { return Tensors{in[0].detach() * in[0] * in[1]}; });
  EXPECT_TRUE(holds(text, "gradient 0")) << text;
  const auto unused =
      failure([](const Tensors& in) { return Tensors{in[0] * in[0] * in[1].detach()}; });
  EXPECT_TRUE(holds(unused, "gradient 1")) << unused;
}

TEST(CheckTest, NotANumberFails) {
  EXPECT_TRUE(holds(failure([](const Tensors& in) {
                      return Tensors{in[0] * in[0] * in[1] *
                                     std::numeric_limits<double>::quiet_NaN()};
                    }),
                    "output 0"));
}

TEST(CheckTest, AnotherShapeFails) {
  EXPECT_TRUE(holds(
      failure([](const Tensors& in) { return Tensors{(in[0] * in[0] * in[1]).unsqueeze(-1)}; }),
      "shape"));
}

TEST(CheckTest, LowPrecisionMayLoseTwiceWhatEagerLoses) {
  auto c = squares([](const Tensors& in) {  // rounds once, where eager rounds twice
    return Tensors{(in[0].to(at::kFloat) * in[0].to(at::kFloat) * in[1].to(at::kFloat))
                       .to(in[0].scalar_type())};
  });
  const auto wide_inputs = c.draw();
  const Tensors inputs = {wide_inputs[0].to(at::kBFloat16), wide_inputs[1].to(at::kBFloat16)};
  EXPECT_EQ(check(c, inputs), "");
  c.ours = [](const Tensors& in) { return Tensors{in[0] * in[0] * in[1] * 1.03}; };
  EXPECT_NE(check(c, inputs), "");
}

TEST(CheckTest, PartOfABatchIsEnoughAndSharedGradientsAgree) {
  // Rows beyond the second are wrong: outside of what is checked, and their gradient weight is 0.
  auto c = squares([](const Tensors& in) {
    auto x = in[0];
    return Tensors{in[1] * x * x};
  });
  c.checked_batch = 2;
  EXPECT_EQ(check(c, c.draw()), "");
  c.ours = [](const Tensors& in) {  // the second row is wrong
    auto factor = at::Tensor(in[0].detach()).clone().fill_(1);
    factor[1][0] = 2;
    return Tensors{in[1] * in[0] * in[0] * factor};
  };
  EXPECT_NE(check(c, c.draw()), "");
}

TEST(CheckTest, WhatFailsTheCheckIsNotPrepared) {
  const auto rows = benchmarks_of(
      {squares([](const Tensors& in) { return Tensors{in[0] * in[0] * in[1] * 1.01}; })}, {});
  ASSERT_EQ(rows.size(), 2);
  EXPECT_EQ(rows[0].labels.name(), "squares/float32/forward+backward/ours");
  EXPECT_NE(rows[0].check(), "");
  EXPECT_FALSE(rows[1].check);
}

// The one case list: what is timed on the CPU is right, forward and backward.
class QuickCases : public testing::TestWithParam<std::size_t> {};

std::vector<Case> quick_cases() {
  return all_cases({.device = at::kCPU, .quick = true});
}

TEST_P(QuickCases, Pass) {
  const auto c = quick_cases()[GetParam()];
  if (std::getenv("OASIS_SANITIZED") != nullptr) {
    // Instrumented loops are not vectorised: their long sums in order lose more.
    const auto inputs = c.draw();
    run(c.ours, inputs, cotangents_for(outputs_of(c.ours, inputs)), c.backward);
    return;
  }
  EXPECT_EQ(check(c, c.draw()), "") << c.operation << " " << c.variant << " " << c.shape;
}

INSTANTIATE_TEST_SUITE_P(All, QuickCases, testing::Range<std::size_t>(0, quick_cases().size()),
                         [](const auto& info) {
                           const auto c = quick_cases()[info.param];
                           return c.operation + std::to_string(info.param);
                         });

TEST(CasesTest, NamesAreUnique) {
  for (const bool quick : {false, true}) {
    std::set<std::string> names;
    const Target target{.device = at::kCPU, .quick = quick};
    const auto rows = benchmarks_of(all_cases(target), target);
    for (const auto& row : rows) names.insert(row.labels.name());
    EXPECT_EQ(names.size(), rows.size());
    EXPECT_TRUE(names.contains(quick ? "rms_norm/M1024_D768/float32/forward+backward/ours"
                                     : "rms_norm/M4096_D768/float32/forward+backward/ours"));
  }
}

}  // namespace
}  // namespace oasis::bench
