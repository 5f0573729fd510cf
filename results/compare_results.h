// The figures of a run of suites beside those of an earlier run, paired by seed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "results/store.h"
#include "support/wilson_interval.h"

namespace oasis {

// Differences of means up to this, in % (or points), are rounding, however sure their sign.
inline constexpr double kSmallestDifference = 0.01;

enum class FigureVerdict {
  kEqual,               // to the last digit, for every seed
  kNotDistinguishable,  // the interval covers zero, or the difference is rounding
  kNoiseUnknown,        // differs, over fewer than three seeds
  kBetter,              // the interval lies on the good side of zero
  kWorse,
  kLower,  // the interval does not cover zero, of a figure of which neither side is good
  kHigher,
};
std::string_view to_string(FigureVerdict verdict);  // "not distinguishable", …

// One figure of one group, over the seeds that both runs have.
struct FigureChange {
  std::string suite, trained_on, model, evaluated_on, setting, method, metric;
  double before = 0, after = 0;  // means over the seeds
  double effect = 0;             // after less before; mean over the seeds
  std::string effect_unit = {};  // "%" of before, "points" of a share, or the figure's own unit
  std::optional<Interval> interval =
      {};  // of the effect, at 95 %, bootstrap over seeds, from three on
  std::int64_t seeds = 0;
  FigureVerdict verdict = FigureVerdict::kEqual;
};

struct ResultComparison {
  std::vector<FigureChange> figures;             // worse ones first
  std::vector<std::string> failed;               // cells whose stages failed, that did not before
  std::vector<std::string> unlike;               // cells that differ in configuration: not compared
  std::int64_t only_before = 0, only_after = 0;  // figures of one seed that the other run lacks

  bool empty() const { return figures.empty() && failed.empty() && unlike.empty(); }
  std::int64_t regressions() const;  // figures that are worse, and failed cells
};

// Newest suites of each name, cells by their names and seeds. Figures that vary from run to run
// (times, memory) are left out.
ResultComparison compare_results(const Store& before, const Store& after);

}  // namespace oasis
