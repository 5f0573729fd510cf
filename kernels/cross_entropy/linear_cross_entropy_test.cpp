#include "kernels/cross_entropy/linear_cross_entropy.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>

#include "kernels/cross_entropy/linear_cross_entropy_reference.h"
#include "kernels/operation_testing.h"

namespace oasis {
namespace {

using namespace testing_support;

Operation fast(const at::Tensor& targets) {
  return [=](const Tensors& in) {
    return Tensors{std::get<0>(linear_cross_entropy(in[0], in[1], targets))};
  };
}

Operation library(const at::Tensor& targets) {
  return [=](const Tensors& in) {
    return Tensors{at::cross_entropy_loss(at::matmul(in[0], in[1].t()), targets)};
  };
}

Reference reference_of(const at::Tensor& targets) {
  return [=](const Tensors& in, const Tensors& cotangents) {
    const auto out = reference::linear_cross_entropy(in[0], in[1], targets);
    return Outcome{{at::full({}, out.mean_loss, at::kDouble)},
                   {out.grad_hidden * cotangents[0], out.grad_weight * cotangents[0]}};
  };
}

struct Size {
  int64_t M, D, V;
};

// A step through the vocabulary that meets its first and last token.
at::Tensor targets_of(const Size& size) {
  return (at::arange(size.M, at::kLong) * 7 + size.V - 1).remainder(size.V);
}

DrawCase cases(const Size& size, double scale) {
  return [=](uint64_t seed) {
    return Case{{draw({size.M, size.D}, scale, 3 * seed), draw({size.V, size.D}, 1, 3 * seed + 1)},
                {draw({}, 1, 3 * seed + 2)}};
  };
}

void expect_close(const at::Tensor& found, const at::Tensor& expected, double limit) {
  EXPECT_LE((found.to(at::kDouble) - expected).norm().item<double>(),
            limit * expected.norm().item<double>());
}

TEST(LinearCrossEntropyTest, MatchesTheReference) {
  for (const Size size : {Size{1, 3, 2}, {7, 12, 31}, {1, 8, 257}, {130, 5, 53}, {70, 33, 1000}}) {
    for (const double scale : {0.3, 3.0, 30.0}) {
      SCOPED_TRACE(testing::Message()
                   << "M " << size.M << " D " << size.D << " V " << size.V << " hidden " << scale);
      const auto targets = targets_of(size);
      expect_matches(fast(targets), library(targets), reference_of(targets), cases(size, scale));
    }
  }
}

TEST(LinearCrossEntropyTest, SeveralChunks) {
  const Size size{13, 2, 600'001};
  ASSERT_EQ(kLogitBudget / size.V, 6);  // at most 6 rows: chunks of 5, 5 and 3
  auto targets = targets_of(size);
  targets[4] = kIgnoredTarget;
  targets[12] = size.V - 1;
  expect_matches(fast(targets), library(targets), reference_of(targets), cases(size, 1),
                 /*most_draws=*/5);
}

TEST(LinearCrossEntropyTest, AVocabularyBeyondTheBudget) {
  const Size size{2, 1, kLogitBudget + 3};
  const auto targets = targets_of(size);
  const auto c = cases(size, 1)(0);
  const auto expected = reference::linear_cross_entropy(c.inputs[0], c.inputs[1], targets);
  const auto found = run(fast(targets), c.inputs, {at::full({}, 1.0)}, at::kDouble);
  EXPECT_NEAR(found.outputs[0].item<double>(), expected.mean_loss, 1e-12 * expected.mean_loss);
  expect_close(found.gradients[0], expected.grad_hidden, 1e-12);
  expect_close(found.gradients[1], expected.grad_weight, 1e-12);
}

TEST(LinearCrossEntropyTest, IgnoredRowsDoNotCount) {
  const Size size{9, 6, 21};
  auto targets = targets_of(size);
  for (const int64_t m : {0, 3, 4, 8}) targets[m] = kIgnoredTarget;
  expect_matches(fast(targets), library(targets), reference_of(targets), cases(size, 1));
  const auto c = cases(size, 1)(0);
  const auto found = run(fast(targets), c.inputs, c.cotangents, at::kFloat);
  EXPECT_EQ(found.gradients[0][3].abs().max().item<float>(), 0.F);
  const auto losses = std::get<1>(linear_cross_entropy(c.inputs[0], c.inputs[1], targets));
  EXPECT_EQ(losses[0].item<double>(), 0.0);
  EXPECT_GT(losses[1].item<double>(), 0.0);
}

TEST(LinearCrossEntropyTest, NoRowsGiveNaN) {
  const auto c = cases({3, 4, 5}, 1)(0);
  const auto none = at::full({3}, kIgnoredTarget, at::kLong);
  EXPECT_TRUE(
      std::isnan(std::get<0>(linear_cross_entropy(c.inputs[0], c.inputs[1], none)).item<double>()));
}

TEST(LinearCrossEntropyTest, LossesOfTokens) {
  const Size size{40, 7, 93};
  const auto targets = targets_of(size);
  const auto c = cases(size, 2)(0);
  const auto expected = reference::linear_cross_entropy(c.inputs[0], c.inputs[1], targets);
  const auto hidden = c.inputs[0].detach().requires_grad_();
  const auto [mean, losses] = linear_cross_entropy(hidden, c.inputs[1], targets);
  EXPECT_TRUE(mean.requires_grad());
  EXPECT_FALSE(losses.requires_grad());
  expect_close(losses, expected.token_loss, 1e-12);
  const at::NoGradGuard no_grad;
  const auto [same_mean, same_losses] = linear_cross_entropy(hidden, c.inputs[1], targets);
  EXPECT_TRUE(at::equal(mean, same_mean));
  EXPECT_TRUE(at::equal(losses, same_losses));
}

TEST(LinearCrossEntropyTest, LargeLogitsStayFinite) {
  const Size size{6, 4, 50};
  const auto targets = targets_of(size);
  const auto c = cases(size, 1e4)(0);
  const auto expected = reference::linear_cross_entropy(c.inputs[0], c.inputs[1], targets);
  const auto found = run(fast(targets), c.inputs, {at::full({}, 1.0)}, at::kDouble);
  EXPECT_NEAR(found.outputs[0].item<double>(), expected.mean_loss, 1e-12 * expected.mean_loss);
  const auto single = run(fast(targets), c.inputs, {at::full({}, 1.0)}, at::kFloat);
  EXPECT_TRUE(single.gradients[0].isfinite().all().item<bool>());
  EXPECT_TRUE(single.gradients[1].isfinite().all().item<bool>());
}

TEST(LinearCrossEntropyTest, StridedInputs) {
  const Size size{8, 5, 11};
  const auto targets = at::arange(16, at::kLong).remainder(11).slice(0, 0, 16, 2);
  const auto turned = [](const Operation& operation) -> Operation {
    return [=](const Tensors& in) { return operation({in[0].t(), in[1].t()}); };
  };
  const auto reference = [=](const Tensors& in, const Tensors& cotangents) {
    auto out = reference_of(targets)({in[0].t(), in[1].t()}, cotangents);
    for (auto& g : out.gradients) g = g.t();
    return out;
  };
  expect_matches(turned(fast(targets)), turned(library(targets)), reference, [=](uint64_t seed) {
    return Case{{draw({size.D, size.M}, 1, 3 * seed), draw({size.D, size.V}, 1, 3 * seed + 1)},
                {draw({}, 1, 3 * seed + 2)}};
  });
}

TEST(LinearCrossEntropyTest, FrozenInputs) {
  const Size size{5, 4, 9};
  const auto targets = targets_of(size);
  const auto c = cases(size, 1)(0);
  const auto expected = reference::linear_cross_entropy(c.inputs[0], c.inputs[1], targets);
  const auto hidden = c.inputs[0].detach().requires_grad_();
  const auto weight = c.inputs[1].detach().requires_grad_();
  const auto of = [&](const at::Tensor& h, const at::Tensor& w, const at::Tensor& leaf) {
    return torch::autograd::grad({std::get<0>(linear_cross_entropy(h, w, targets))}, {leaf})[0];
  };
  expect_close(of(hidden, weight.detach(), hidden), expected.grad_hidden, 1e-12);
  expect_close(of(hidden.detach(), weight, weight), expected.grad_weight, 1e-12);
}

TEST(LinearCrossEntropyTest, BadInputIsNamed) {
  const auto hidden = at::randn({3, 4}), weight = at::randn({5, 4});
  const auto targets = at::arange(3, at::kLong);
  const auto message = [&](const at::Tensor& h, const at::Tensor& w, const at::Tensor& t) {
    return message_of([&] { linear_cross_entropy(h, w, t); });
  };
  const auto npos = std::string::npos;
  EXPECT_NE(message(hidden, at::randn({5, 3}), targets).find("weight [V, D]"), npos);
  EXPECT_NE(message(hidden.unsqueeze(0), weight, targets).find("not [1, 3, 4]"), npos);
  EXPECT_NE(message(hidden, weight, targets.to(at::kInt)).find("int64 [3]"), npos);
  EXPECT_NE(message(hidden, weight, at::arange(4, at::kLong)).find("int64 [3]"), npos);
  EXPECT_NE(message(hidden, weight, targets + 3).find("target 5 at row 2"), npos);
  EXPECT_NE(message(hidden, weight, targets - 1).find("target -1 at row 0"), npos);
}

}  // namespace
}  // namespace oasis
