#include "results/statistics/statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace oasis {
namespace {

// Expected values from SciPy 1.17: stats.bootstrap(method='BCa', 400,000 resamples),
// stats.permutation_test(permutation_type='samples'), stats.binomtest, stats.norm.
const std::vector<double> kFive = {-1.2, 0.4, -3.1, -0.9, -2.2};
const std::vector<double> kEight = {1, 2, 3, 4, 5, 6, 7, 8.5};

TEST(Statistics, MeanAndDeviation) {
  EXPECT_DOUBLE_EQ(mean(kFive), -1.4);
  EXPECT_NEAR(*sample_deviation(kFive), 1.3285330255586423, 1e-14);
  EXPECT_FALSE(sample_deviation(std::vector<double>{3}));
}

TEST(Statistics, BootstrapIntervalOfAnEnumeratedDistribution) {
  const auto interval = bootstrap_interval(kFive);
  ASSERT_TRUE(interval);
  EXPECT_NEAR(interval->low, -2.36, 1e-12);
  EXPECT_NEAR(interval->high, -0.38, 1e-12);
}

TEST(Statistics, BootstrapIntervalOfADrawnDistribution) {
  const auto interval = bootstrap_interval(kEight);
  ASSERT_TRUE(interval);
  // Of 20,000 resamples an end is known to about a sixteenth, half a step of the means.
  EXPECT_NEAR(interval->low, 3.0, 1.0 / 16);
  EXPECT_NEAR(interval->high, 6.25, 1.0 / 16);
  EXPECT_EQ(bootstrap_interval(kEight)->low, interval->low);  // the same every time
}

TEST(Statistics, BootstrapIntervalAtItsEdges) {
  EXPECT_FALSE(bootstrap_interval(std::vector<double>{1, 2}));
  EXPECT_FALSE(bootstrap_interval({}));
  const auto equal = bootstrap_interval(std::vector<double>{2, 2, 2});
  EXPECT_EQ(equal->low, 2);
  EXPECT_EQ(equal->high, 2);
  // Mirrored values give the mirrored interval.
  std::vector<double> mirrored;
  for (const double value : kFive) mirrored.push_back(-value);
  EXPECT_NEAR(bootstrap_interval(mirrored)->low, -bootstrap_interval(kFive)->high, 1e-12);
  const auto three = bootstrap_interval(std::vector<double>{1, 2, 4});
  EXPECT_GE(three->low, 1);
  EXPECT_LE(three->high, 4);
}

TEST(Statistics, SignFlipsAreEnumerated) {
  EXPECT_DOUBLE_EQ(*sign_flip_p(kFive), 0.125);
  EXPECT_DOUBLE_EQ(*sign_flip_p(kEight), 2.0 / 256);
  EXPECT_DOUBLE_EQ(*sign_flip_p(std::vector<double>{0, 0, 0, 0, 0}), 1);
  EXPECT_FALSE(sign_flip_p(std::vector<double>{1, 2, 3, 4}));
  EXPECT_FALSE(sign_flip_p(std::vector<double>(21, 1.0)));
}

TEST(Statistics, HolmStepsDownAndNeverFalls) {
  const auto adjusted = holm(std::vector<double>{0.04, 0.01, 0.03, 0.5});
  EXPECT_DOUBLE_EQ(adjusted[1], 0.04);
  EXPECT_DOUBLE_EQ(adjusted[2], 0.09);
  EXPECT_DOUBLE_EQ(adjusted[0], 0.09);  // 2·0.04 is less than what came before
  EXPECT_DOUBLE_EQ(adjusted[3], 0.5);
  EXPECT_DOUBLE_EQ(holm(std::vector<double>{0.6, 0.7})[0], 1);
  EXPECT_TRUE(holm({}).empty());
}

TEST(Statistics, McNemarIsTheExactBinomialTest) {
  EXPECT_NEAR(mcnemar_p(3, 11), 0.057373046875, 1e-13);
  EXPECT_NEAR(mcnemar_p(11, 3), 0.057373046875, 1e-13);
  EXPECT_NEAR(mcnemar_p(0, 5), 0.0625, 1e-14);
  EXPECT_NEAR(mcnemar_p(120, 80), 0.005685155996750306, 1e-13);
  EXPECT_EQ(mcnemar_p(7, 7), 1);
  EXPECT_EQ(mcnemar_p(0, 0), 1);
}

TEST(Statistics, NormalDistributionAndItsInverse) {
  const auto agrees = [](double found, double expected) {
    EXPECT_NEAR(found, expected, 4e-16 * (1 + std::abs(expected)));
  };
  agrees(normal_quantile(1e-300), -37.0470962993612);
  agrees(normal_quantile(1e-10), -6.361340902404056);
  agrees(normal_quantile(0.01), -2.3263478740408408);
  agrees(normal_quantile(0.3), -0.5244005127080409);
  agrees(normal_quantile(0.5), 0);
  agrees(normal_quantile(0.9), 1.2815515655446004);
  EXPECT_NEAR(normal_quantile(1 - 1e-12), 7.0344869100478356, 1e-15 * 7);
  EXPECT_TRUE(std::isinf(normal_quantile(0)));
  EXPECT_TRUE(std::isinf(normal_quantile(1)));
  EXPECT_NEAR(normal_cumulative(-3.3), 0.00048342414238377744, 1e-18);
}

}  // namespace
}  // namespace oasis
