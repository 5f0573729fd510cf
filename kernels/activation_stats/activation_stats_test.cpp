#include "kernels/activation_stats/activation_stats.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/stack.h>
#include <gtest/gtest.h>

#include <limits>

namespace oasis {
namespace {

// The definition, over the last dimension.
at::Tensor stats_of(const at::Tensor& x) {
  const auto values = x.to(at::kDouble);
  const auto mean = values.mean({-1});
  const auto delta = values - mean.unsqueeze(-1);
  return at::stack({values.abs().amax({-1}), mean, delta.pow(2).sum({-1}), delta.pow(3).sum({-1}),
                    delta.pow(4).sum({-1})},
                   -1);
}

// Column by column: a moment is as large as its sum of magnitudes, not as what is left of it.
void expect_stats(const at::Tensor& found, const at::Tensor& x, double tolerance = 1e-13) {
  const auto expected = stats_of(x);
  const auto delta = (x.to(at::kDouble) - expected.select(-1, kMean).unsqueeze(-1)).abs();
  const double powers[] = {1, 1, 2, 3, 4};
  for (int column = 0; column < kActivationStats; ++column) {
    const auto magnitude = delta.pow(powers[column]).sum().item<double>();
    const auto error = (found.select(-1, column) - expected.select(-1, column)).abs().max();
    EXPECT_LE(error.item<double>(), tolerance * magnitude) << "column " << column;
  }
}

TEST(ActivationStatsTest, MatchTheDefinition) {
  for (const auto& [B, T, D] : {std::tuple{1, 1, 1}, {2, 7, 33}, {3, 130, 5}, {1, 64, 1000}}) {
    const auto x = at::randn({B, T, D}, at::kDouble) * 3 + 1;
    const auto [sequences, tokens] = activation_stats(x);
    expect_stats(tokens, x);
    expect_stats(sequences, x.flatten(1));
  }
}

TEST(ActivationStatsTest, FarFromZeroNothingCancels) {
  // Raw moments in float64 would have no digit left of any central moment here. A mean of 1e4 is
  // itself known to 1e-12, a ten-thousand-millionth of the spread.
  const auto x = at::randn({1, 20, 64}, at::kDouble) * 0.01 + 1e4;
  expect_stats(std::get<0>(activation_stats(x)), x.flatten(1), 1e-9);
}

TEST(ActivationStatsTest, EveryTypeAccumulatesInFloat64) {
  for (const auto type : {at::kFloat, at::kBFloat16, at::kHalf}) {
    const auto x = at::randn({2, 9, 48}).to(type);
    const auto [sequences, tokens] = activation_stats(x);
    EXPECT_EQ(sequences.scalar_type(), at::kDouble);
    expect_stats(sequences, x.flatten(1));
  }
}

TEST(ActivationStatsTest, StridesDoNotMatter) {
  const auto x = at::randn({2, 30, 17}).transpose(1, 2);
  EXPECT_TRUE(
      at::equal(std::get<0>(activation_stats(x)), std::get<0>(activation_stats(x.contiguous()))));
}

TEST(ActivationStatsTest, TheSameForAnyNumberOfThreads) {
  const auto x = at::randn({2, 500, 65});
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const auto alone = activation_stats(x);
  at::set_num_threads(4);
  const auto together = activation_stats(x);
  at::set_num_threads(threads);
  EXPECT_TRUE(at::equal(std::get<0>(alone), std::get<0>(together)));
  EXPECT_TRUE(at::equal(std::get<1>(alone), std::get<1>(together)));
}

TEST(ActivationStatsTest, NanAndInfinityShow) {
  auto x = at::randn({2, 4, 20});
  x[0][2][19] = std::numeric_limits<float>::quiet_NaN();
  x[1][0][3] = -std::numeric_limits<float>::infinity();
  const auto [sequences, tokens] = activation_stats(x);
  EXPECT_TRUE(sequences[0].isnan().all().item<bool>());
  EXPECT_TRUE(tokens[0][2].isnan().all().item<bool>());
  EXPECT_TRUE(tokens[0][1].isfinite().all().item<bool>());
  EXPECT_TRUE(sequences[1][kMaxAbs].isinf().item<bool>());
  EXPECT_TRUE(sequences[1][kM2].isnan().item<bool>());
}

TEST(ActivationStatsTest, WrongShapesAreRefused) {
  EXPECT_THROW(activation_stats(at::randn({3, 4})), c10::Error);
  EXPECT_THROW(activation_stats(at::randn({3, 0, 4})), c10::Error);
  EXPECT_THROW(activation_stats(at::randn({3, 2, 4}).to(at::kLong)), c10::Error);
}

}  // namespace
}  // namespace oasis
