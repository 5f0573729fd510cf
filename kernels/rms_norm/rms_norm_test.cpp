#include "kernels/rms_norm/rms_norm.h"

#include "kernels/operation_testing.h"
#include "kernels/rms_norm/rms_norm_reference.h"

namespace oasis {
namespace {

using namespace testing_support;

constexpr double kEps = 1e-5;

Tensors fast(const Tensors& in) {
  return {rms_norm(in[0], in[1], kEps)};
}

Tensors library(const Tensors& in) {
  return {in[0] * (in[0] * in[0]).mean(-1, true).add(kEps).rsqrt() * in[1]};
}

Outcome reference_of(const Tensors& in, const Tensors& cotangents) {
  const auto grads = reference::rms_norm_backward(in[0], in[1], kEps, cotangents[0]);
  return {{reference::rms_norm(in[0], in[1], kEps)}, {grads.x, grads.weight}};
}

DrawCase cases(std::vector<int64_t> shape, double scale = 1) {
  return [=](uint64_t seed) {
    const int64_t D = shape.back();
    return Case{{draw(shape, scale, 3 * seed), draw({D}, 1, 3 * seed + 1) + 1},
                {draw(shape, 1, 3 * seed + 2)}};
  };
}

TEST(RmsNormTest, MatchesTheReference) {
  for (const auto& shape : std::vector<std::vector<int64_t>>{
           {1, 1}, {1, 8}, {7, 33}, {130, 64}, {2, 65, 3}, {2, 3, 5, 12}, {300, 37}}) {
    SCOPED_TRACE(testing::Message() << "shape " << at::IntArrayRef(shape));
    expect_matches(fast, library, reference_of, cases(shape));
  }
}

TEST(RmsNormTest, SmallAndLargeRows) {
  for (const double scale : {1e-4, 1e4}) {
    SCOPED_TRACE(scale);
    expect_matches(fast, library, reference_of, cases({33, 40}, scale));
  }
}

TEST(RmsNormTest, PlantedOutliersAndAZeroRow) {
  expect_matches(fast, library, reference_of, [](uint64_t seed) {
    auto c = cases({6, 40})(seed);
    c.inputs[0][1][3] = 1e4;
    c.inputs[0][2].zero_();
    return c;
  });
}

TEST(RmsNormTest, StridedInput) {
  const auto swapped = [](const Operation& operation) -> Operation {
    return [=](const Tensors& in) { return operation({in[0].transpose(1, 2), in[1]}); };
  };
  const auto reference = [](const Tensors& in, const Tensors& cotangents) {
    auto out = reference_of({in[0].transpose(1, 2), in[1]}, cotangents);
    out.gradients[0] = out.gradients[0].transpose(1, 2);
    return out;
  };
  expect_matches(swapped(fast), swapped(library), reference, [](uint64_t seed) {
    return Case{{draw({2, 6, 5}, 1, 3 * seed), draw({6}, 1, 3 * seed + 1)},
                {draw({2, 5, 6}, 1, 3 * seed + 2)}};
  });
}

TEST(RmsNormTest, ResidualAdd) {
  const auto add = [](const Tensors& in) -> Tensors {
    const auto [h, y] = add_rms_norm(in[0], in[1], in[2], kEps);
    return {h, y};
  };
  const auto compose = [](const Tensors& in) -> Tensors {
    const auto h = in[0] + in[1];
    return {h, library({h, in[2]})[0]};
  };
  const auto reference = [](const Tensors& in, const Tensors& cotangents) {
    const auto h = in[0] + in[1];
    const auto grads = reference::rms_norm_backward(h, in[2], kEps, cotangents[1]);
    const auto grad = grads.x + cotangents[0];
    return Outcome{{h, reference::rms_norm(h, in[2], kEps)}, {grad, grad, grads.weight}};
  };
  expect_matches(add, compose, reference, [](uint64_t seed) {
    const std::vector<int64_t> shape = {3, 7, 33};
    return Case{
        {draw(shape, 1, 5 * seed), draw(shape, 1, 5 * seed + 1), draw({33}, 1, 5 * seed + 2)},
        {draw(shape, 1, 5 * seed + 3), draw(shape, 1, 5 * seed + 4)}};
  });
}

TEST(RmsNormTest, BroadcastGradient) {
  const auto c = cases({9, 5})(0);
  const auto x = c.inputs[0].detach().requires_grad_();
  const auto found = torch::autograd::grad({rms_norm(x, c.inputs[1], kEps).sum()}, {x})[0];
  const auto ones = at::zeros_like(c.inputs[0]) + 1;
  const auto expected = reference::rms_norm_backward(x, c.inputs[1], kEps, ones).x;
  EXPECT_LE((found - expected).norm().item<double>(), 1e-12 * expected.norm().item<double>());
}

TEST(RmsNormTest, TheSameOnAnyNumberOfThreads) {
  expect_independent_of_threads(fast, cases({700, 37})(0));
}

TEST(RmsNormTest, BadShapesAreNamed) {
  const auto x = at::randn({3, 8});
  EXPECT_NE(message_of([&] { rms_norm(x, at::randn({7}), kEps); }).find("weight must be [8]"),
            std::string::npos);
  EXPECT_NE(message_of([&] {
              rms_norm(x, at::randn({1, 8}), kEps);
            }).find("not [1, 8]"),
            std::string::npos);
  EXPECT_NE(message_of([&] {
              add_rms_norm(x, at::randn({3, 7}), at::randn({8}), kEps);
            }).find("branch [3, 7] differ"),
            std::string::npos);
  EXPECT_NE(message_of([&] { rms_norm(x.to(at::kInt), at::randn({8}), kEps); }).find("float32"),
            std::string::npos);
}

}  // namespace
}  // namespace oasis
