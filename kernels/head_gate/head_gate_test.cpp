#include "kernels/head_gate/head_gate.h"

#include <ATen/ops/sigmoid.h>

#include "kernels/operation_testing.h"

namespace oasis {
namespace {

using namespace testing_support;

// Inputs x, weight, bias and the context by token, [B,T,H,d].
Tensors fast(const Tensors& in) {
  return {head_gate(in[0], in[1], in[2], in[3].transpose(1, 2))};
}

Tensors library(const Tensors& in) {
  const auto& context = in[3];
  const auto logits =
      (in[0].view({context.size(0), context.size(1), context.size(2), -1}) * in[1]).sum(-1) + in[2];
  return {(context * at::sigmoid(logits).unsqueeze(-1)).flatten(2)};
}

DrawCase cases(int64_t B, int64_t H, int64_t T, int64_t slice, int64_t d) {
  return [=](uint64_t seed) {
    return Case{{draw({B, T, H * slice}, 1, 5 * seed), draw({H, slice}, 0.3, 5 * seed + 1),
                 draw({H}, 1, 5 * seed + 2), draw({B, T, H, d}, 1, 5 * seed + 3)},
                {draw({B, T, H * d}, 1, 5 * seed + 4)}};
  };
}

TEST(HeadGateTest, MatchesTheFormula) {
  const auto reference = [](const Tensors& inputs, const Tensors& cotangents) {
    const auto out = run(library, inputs, cotangents, at::kDouble);
    return Outcome{{out.outputs[0].detach()}, out.gradients};
  };
  expect_matches(fast, library, reference, cases(1, 1, 1, 1, 2));
  expect_matches(fast, library, reference, cases(2, 3, 70, 16, 16));
  expect_matches(fast, library, reference, cases(1, 5, 33, 7, 12));
}

TEST(HeadGateTest, TheSameOnAnyNumberOfThreads) {
  expect_independent_of_threads(fast, cases(3, 4, 50, 9, 11)(0));
}

TEST(HeadGateTest, WrongShapesAreNamed) {
  const auto c = cases(2, 3, 4, 5, 6)(0).inputs;
  const auto context = c[3].transpose(1, 2);
  EXPECT_NE(message_of([&] { head_gate(c[0], c[1].t(), c[2], context); }).find("[5, 3]"),
            std::string::npos);
  EXPECT_NE(message_of([&] { head_gate(c[0], c[1], c[2], c[3]); }).find("[B, H, T, d]"),
            std::string::npos);
}

}  // namespace
}  // namespace oasis
