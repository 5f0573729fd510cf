// Linear layers against float64, forward and backward, on both sides of the size from which
// oneDNN serves; float32 may lose twice what at::linear loses.
#include "kernels/linear/linear.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <array>

namespace oasis {
namespace {

double error(const at::Tensor& found, const at::Tensor& expected) {
  return ((found.to(at::kDouble) - expected).norm() / expected.norm()).item<double>();
}

std::array<at::Tensor, 4> run(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b,
                              const at::Tensor& grad, bool ours) {
  const auto leaf = [](const at::Tensor& t) { return t.detach().clone().set_requires_grad(true); };
  const auto lx = leaf(x), lw = leaf(w), lb = leaf(b);
  const auto y = ours ? oasis::linear(lx, lw, lb) : at::linear(lx, lw, lb);
  y.backward(grad);
  return {y.detach(), lx.grad(), lw.grad(), lb.grad()};
}

TEST(Linear, MatchesFloat64ForwardAndBackward) {
  at::manual_seed(5);
  for (const auto& [rows, in, out] :
       {std::array{1, 3, 5}, std::array{7, 130, 257}, std::array{65, 384, 130}}) {
    const auto x = at::randn({2, rows, in}), w = at::randn({out, in}), b = at::randn({out});
    const auto grad = at::randn({2, rows, out});
    const auto wide = [](const at::Tensor& t) { return t.to(at::kDouble); };
    const auto expected = run(wide(x), wide(w), wide(b), wide(grad), false);
    const auto library = run(x, w, b, grad, false);
    const auto found = run(x, w, b, grad, true);
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_LE(error(found[i], expected[i]), 2 * error(library[i], expected[i]) + 1e-7)
          << rows << "x" << in << "x" << out << " value " << i;
    }
  }
}

TEST(Linear, ProductsOfTransposedAndSlicedMatrices) {
  at::manual_seed(6);
  const auto a = at::randn({300, 90}), b = at::randn({300, 200});
  const auto expected = at::mm(a.t().to(at::kDouble), b.to(at::kDouble));
  EXPECT_LE(error(matrix_product(a.t(), b), expected), 1e-6);
  const auto left = a.slice(1, 3, 80), right = b.slice(0, 10, 87).slice(1, 20, 180);
  EXPECT_LE(error(matrix_product(left, right), at::mm(left.to(at::kDouble), right.to(at::kDouble))),
            1e-6);
}

TEST(Linear, NeighboursInMemoryAreOneProduct) {
  at::manual_seed(6);
  const auto whole = at::randn({30, 12});
  const auto x = at::randn({2, 5, 12});
  const std::vector<at::Tensor> weights = {whole.narrow(0, 3, 8), whole.narrow(0, 11, 4),
                                           whole.narrow(0, 15, 10)};
  for (const bool gradients : {true, false}) {
    const c10::AutoGradMode mode(gradients);
    const auto found = linears(x, weights);
    for (size_t i = 0; i < weights.size(); ++i) {
      EXPECT_TRUE(at::allclose(found[i], at::linear(x, weights[i]), 1e-5, 1e-6));
    }
    EXPECT_EQ(found[0].is_alias_of(found[1]), !gradients);
    // A gap between them.
    const auto apart = linears(x, {weights[0], weights[2]});
    EXPECT_FALSE(apart[0].is_alias_of(apart[1]));
  }
}

// The kernel for few rows, on both sides of where it serves; a row's bits are its own.
TEST(Linear, FewRowsWithoutGradients) {
  at::manual_seed(7);
  const c10::AutoGradMode without(false);
  for (const auto& [in, out] : {std::array{576, 193}, std::array{13, 5}, std::array{8, 1}}) {
    const auto w = at::randn({out, in});
    const auto x = at::randn({10, 1, in});
    for (int64_t rows = 1; rows <= 10; ++rows) {
      const auto part = x.narrow(0, 10 - rows, rows);
      const auto expected = at::linear(part.to(at::kDouble), w.to(at::kDouble));
      const auto found = oasis::linear(part, w);
      EXPECT_LE(error(found, expected), 2 * error(at::linear(part, w), expected) + 1e-7);
      if (rows <= 8) {
        const auto last = oasis::linear(x.narrow(0, 9, 1), w);
        EXPECT_TRUE(at::equal(found.narrow(0, rows - 1, 1), last)) << rows << " rows";
      }
    }
  }
}

TEST(Linear, RepeatsBitForBit) {
  at::manual_seed(7);
  const auto x = at::randn({512, 384}), w = at::randn({256, 384});
  EXPECT_TRUE(oasis::linear(x, w).equal(oasis::linear(x, w)));
}

}  // namespace
}  // namespace oasis
