// One run's benchmarks beside an earlier run's.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "results/benchmark_rows.h"

namespace oasis {

// Ratio of medians up to which two times count as the same, however steady the machine was.
inline constexpr double kSmallestChange = 1.02;

enum class Verdict {
  kFaster,  // the intervals from p10 to p90 lie apart, and the medians by more than that
  kSlower,  // they do, the other way round
  kNotDistinguishable,
  kFailsNow,  // had a time, has an error
  kRunsNow,   // the other way round
  kFailsStill,
};
std::string_view to_string(Verdict verdict);  // "not distinguishable", …

struct BenchmarkComparison {
  BenchmarkRow before, after;
  Verdict verdict = Verdict::kNotDistinguishable;

  double ratio() const { return after.median_seconds / before.median_seconds; }
  // Ours is slower, or fails, where it did not: what eager code and libraries do is not ours.
  bool regressed() const;
};

// What both hold of one device, in the order of `after`.
std::vector<BenchmarkComparison> compare_benchmarks(const std::vector<BenchmarkRow>& before,
                                                    const std::vector<BenchmarkRow>& after);

}  // namespace oasis
