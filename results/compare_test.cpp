#include "results/compare.h"

#include <gtest/gtest.h>

namespace oasis {
namespace {

BenchmarkRow row(const std::string& shape, double p10, double median, double p90) {
  return {.device = "cpu",
          .operation = "rms_norm",
          .shape = shape,
          .dtype = "float32",
          .pass = "forward",
          .formulation = "ours",
          .median_seconds = median,
          .p10_seconds = p10,
          .p90_seconds = p90,
          .n = 20};
}

BenchmarkRow failing(const std::string& shape) {
  auto failed = row(shape, 0, 0, 0);
  failed.error = "output 0 is off";
  return failed;
}

Verdict verdict(const BenchmarkRow& before, const BenchmarkRow& after) {
  return compare_benchmarks({before}, {after}).at(0).verdict;
}

TEST(CompareTest, ApartIsFasterOrSlowerAndOverlapIsNeither) {
  EXPECT_EQ(verdict(row("a", 1.0, 1.1, 1.2), row("a", 1.3, 1.4, 1.5)), Verdict::kSlower);
  EXPECT_EQ(verdict(row("a", 1.3, 1.4, 1.5), row("a", 1.0, 1.1, 1.2)), Verdict::kFaster);
  EXPECT_EQ(verdict(row("a", 1.0, 1.1, 1.3), row("a", 1.2, 1.4, 1.5)),
            Verdict::kNotDistinguishable);
  EXPECT_EQ(verdict(row("a", 1.0, 1.1, 1.2), row("a", 1.2, 1.3, 1.4)),  // they touch
            Verdict::kNotDistinguishable);
  EXPECT_EQ(verdict(row("a", 1.0, 1.0, 1.0), row("a", 1.01, 1.01, 1.01)),  // apart, but by little
            Verdict::kNotDistinguishable);
  EXPECT_EQ(verdict(row("a", 1.0, 1.0, 1.0), row("a", 1.03, 1.03, 1.03)), Verdict::kSlower);
}

TEST(CompareTest, RatioIsOfTheMedians) {
  const auto found = compare_benchmarks({row("a", 1, 2, 3)}, {row("a", 4, 5, 6)});
  EXPECT_DOUBLE_EQ(found.at(0).ratio(), 2.5);
}

TEST(CompareTest, ErrorsAreVerdictsOfTheirOwn) {
  EXPECT_EQ(verdict(row("a", 1, 1, 1), failing("a")), Verdict::kFailsNow);
  EXPECT_EQ(verdict(failing("a"), row("a", 1, 1, 1)), Verdict::kRunsNow);
  EXPECT_EQ(verdict(failing("a"), failing("a")), Verdict::kFailsStill);
}

TEST(CompareTest, OnlyOursRegresses) {
  auto before = row("a", 1, 1, 1), after = row("a", 2, 2, 2);
  EXPECT_TRUE(compare_benchmarks({before}, {after}).at(0).regressed());
  EXPECT_FALSE(compare_benchmarks({after}, {before}).at(0).regressed());
  EXPECT_TRUE(compare_benchmarks({before}, {failing("a")}).at(0).regressed());
  EXPECT_FALSE(compare_benchmarks({failing("a")}, {failing("a")}).at(0).regressed());
  before.formulation = after.formulation = "eager";
  EXPECT_FALSE(compare_benchmarks({before}, {after}).at(0).regressed());
}

TEST(CompareTest, OnlyWhatBothHoldOfOneDevice) {
  auto elsewhere = row("a", 1, 1, 1);
  elsewhere.device = "another";
  EXPECT_TRUE(compare_benchmarks({elsewhere}, {row("a", 1, 1, 1)}).empty());
  const auto found = compare_benchmarks({row("a", 1, 1, 1), row("b", 1, 1, 1)},
                                        {row("c", 1, 1, 1), row("b", 1, 1, 1)});
  ASSERT_EQ(found.size(), 1);
  EXPECT_EQ(found[0].after.shape, "b");
}

}  // namespace
}  // namespace oasis
