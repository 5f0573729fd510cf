#include "kernels/gated_mlp/gated_product.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/tensor.h>

#include "kernels/gated_mlp/gated_product_reference.h"
#include "kernels/operation_testing.h"

namespace oasis {
namespace {

using namespace testing_support;

Tensors fast(const Tensors& in) {
  return {gated_product(in[0], in[1])};
}

Tensors library(const Tensors& in) {
  return {at::silu(in[0]) * in[1]};
}

Outcome reference_of(const Tensors& in, const Tensors& cotangents) {
  const auto grads = reference::gated_product_backward(in[0], in[1], cotangents[0]);
  return {{reference::gated_product(in[0], in[1])}, {grads.gate, grads.up}};
}

DrawCase cases(std::vector<int64_t> shape, double scale) {
  return [=](uint64_t seed) {
    return Case{{draw(shape, scale, 3 * seed), draw(shape, 1, 3 * seed + 1)},
                {draw(shape, 1, 3 * seed + 2)}};
  };
}

TEST(GatedProductTest, MatchesTheReference) {
  for (const auto& shape :
       std::vector<std::vector<int64_t>>{{1}, {7, 33}, {130, 65}, {2, 3, 129}, {70, 1000}}) {
    for (const double scale : {0.1, 3.0, 30.0}) {
      SCOPED_TRACE(testing::Message() << "shape " << at::IntArrayRef(shape) << " gate " << scale);
      expect_matches(fast, library, reference_of, cases(shape, scale));
    }
  }
}

TEST(GatedProductTest, BothHalvesInOneTensor) {
  const auto gate_up = draw({2, 5, 14}, 2, 0).requires_grad_();
  const auto gate = gate_up.narrow(-1, 0, 7).detach().requires_grad_();
  const auto up = gate_up.narrow(-1, 7, 7).detach().requires_grad_();
  const auto fused = gated_product(gate_up), apart = gated_product(gate, up);
  EXPECT_TRUE(at::equal(fused, apart));
  const auto weight = draw({2, 5, 7}, 1, 1);
  const auto grads = torch::autograd::grad({apart}, {gate, up}, {weight});
  EXPECT_TRUE(
      at::equal(torch::autograd::grad({fused}, {gate_up}, {weight})[0], at::cat(grads, -1)));
  EXPECT_NE(message_of([] { gated_product(draw({3, 5}, 1, 0)); }).find("2·I"), std::string::npos);
}

TEST(GatedProductTest, SaturatedGatesStayFinite) {
  const auto gate = at::tensor({-1e4F, -100.F, -88.F, 0.F, 88.F, 100.F, 1e4F}).requires_grad_();
  const auto up = at::ones_like(gate).requires_grad_();
  const auto y = gated_product(gate, up);
  const auto grads = torch::autograd::grad({y.sum()}, {gate, up});
  for (const auto& value : {y, grads[0], grads[1]}) {
    EXPECT_TRUE(value.isfinite().all().item<bool>()) << value;
  }
  EXPECT_EQ(y[0].item<float>(), 0.F);
  EXPECT_EQ(y[6].item<float>(), 1e4F);
  EXPECT_EQ(grads[0][0].item<float>(), 0.F);
  EXPECT_EQ(grads[0][3].item<float>(), 0.5F);
  EXPECT_EQ(grads[0][6].item<float>(), 1.F);
}

TEST(GatedProductTest, HalvesOfOneProjection) {
  const auto halves = [](const Operation& operation) -> Operation {
    return [=](const Tensors& in) {
      return operation({in[0].narrow(1, 0, 9), in[0].narrow(1, 9, 9)});
    };
  };
  const auto reference = [](const Tensors& in, const Tensors& cotangents) {
    const auto out = reference_of({in[0].narrow(1, 0, 9), in[0].narrow(1, 9, 9)}, cotangents);
    return Outcome{out.outputs, {at::cat({out.gradients[0], out.gradients[1]}, 1)}};
  };
  expect_matches(halves(fast), halves(library), reference, [](uint64_t seed) {
    return Case{{draw({5, 18}, 2, 2 * seed)}, {draw({5, 9}, 1, 2 * seed + 1)}};
  });
}

TEST(GatedProductTest, TheSameOnAnyNumberOfThreads) {
  expect_independent_of_threads(fast, cases({41, 1001}, 3)(0));
}

TEST(GatedProductTest, DifferentShapesAndTypesAreNamed) {
  const auto x = at::randn({3, 8});
  EXPECT_NE(message_of([&] {
              gated_product(x, at::randn({3, 7}));
            }).find("[3, 7]"),
            std::string::npos);
  EXPECT_NE(message_of([&] { gated_product(x, x.to(at::kDouble)); }).find("differ"),
            std::string::npos);
}

}  // namespace
}  // namespace oasis
