#include "results/compare.h"

#include <map>

#include "support/error.h"

namespace oasis {
namespace {

Verdict verdict_of(const BenchmarkRow& before, const BenchmarkRow& after) {
  if (!after.error.empty()) return before.error.empty() ? Verdict::kFailsNow : Verdict::kFailsStill;
  if (!before.error.empty()) return Verdict::kRunsNow;
  const double ratio = after.median_seconds / before.median_seconds;
  if (after.p10_seconds > before.p90_seconds && ratio > kSmallestChange) return Verdict::kSlower;
  if (after.p90_seconds < before.p10_seconds && ratio < 1 / kSmallestChange) {
    return Verdict::kFaster;
  }
  return Verdict::kNotDistinguishable;
}

std::string key_of(const BenchmarkRow& row) {
  return row.device + "\n" + row.name();
}

}  // namespace

std::string_view to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::kFaster:
      return "faster";
    case Verdict::kSlower:
      return "slower";
    case Verdict::kNotDistinguishable:
      return "not distinguishable";
    case Verdict::kFailsNow:
      return "fails now";
    case Verdict::kRunsNow:
      return "runs now";
    case Verdict::kFailsStill:
      return "fails still";
  }
  throw failed("no such verdict: {}", static_cast<int>(verdict));
}

bool BenchmarkComparison::regressed() const {
  return after.formulation == "ours" &&
         (verdict == Verdict::kSlower || verdict == Verdict::kFailsNow);
}

std::vector<BenchmarkComparison> compare_benchmarks(const std::vector<BenchmarkRow>& before,
                                                    const std::vector<BenchmarkRow>& after) {
  std::map<std::string, const BenchmarkRow*> earlier;
  for (const auto& row : before) earlier[key_of(row)] = &row;
  std::vector<BenchmarkComparison> comparisons;
  for (const auto& row : after) {
    const auto same = earlier.find(key_of(row));
    if (same == earlier.end()) continue;
    comparisons.push_back({*same->second, row, verdict_of(*same->second, row)});
  }
  return comparisons;
}

}  // namespace oasis
