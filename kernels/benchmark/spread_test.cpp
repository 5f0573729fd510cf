#include "kernels/benchmark/spread.h"

#include <gtest/gtest.h>

#include "support/error.h"

namespace oasis {
namespace {

TEST(SpreadTest, PercentilesOfKnownSamples) {
  const auto s = spread_of({5, 1, 4, 2, 3, 11, 7, 8, 9, 10, 6});  // 1 to 11 in any order
  EXPECT_DOUBLE_EQ(s.median, 6);
  EXPECT_DOUBLE_EQ(s.p10, 2);
  EXPECT_DOUBLE_EQ(s.p90, 10);
  EXPECT_EQ(s.n, 11);
}

TEST(SpreadTest, BetweenSamplesItInterpolates) {
  const auto s = spread_of({4, 1, 3, 2});
  EXPECT_DOUBLE_EQ(s.median, 2.5);
  EXPECT_DOUBLE_EQ(s.p10, 1.3);
  EXPECT_DOUBLE_EQ(s.p90, 3.7);
}

TEST(SpreadTest, OneSampleIsAllThree) {
  const auto s = spread_of({0.25});
  EXPECT_EQ(s.median, 0.25);
  EXPECT_EQ(s.p10, 0.25);
  EXPECT_EQ(s.p90, 0.25);
  EXPECT_EQ(s.n, 1);
}

TEST(SpreadTest, NoSampleIsAnError) {
  EXPECT_THROW(spread_of({}), Error);
}

}  // namespace
}  // namespace oasis
