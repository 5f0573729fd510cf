// Methods beside `attnres` or `oasis`, paired by seed, with what may be said of the difference.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "results/store.h"
#include "support/wilson_interval.h"

namespace oasis {

struct Comparison {
  std::string trained_on, model, evaluated_on;
  std::string metric, setting;  // "perplexity", "W8A8 published"
  std::string method;
  std::string unit;             // of the effect: "%" of attnres' figure, or "points" of a share
  std::vector<double> effects;  // one for each seed that both have, by seed
  double effect = 0;            // their mean
  std::optional<double> deviation;
  std::optional<Interval> interval;  // at 95 %, bootstrap over seeds, from three on
  std::optional<double> p;           // sign flips; from five seeds on
  std::optional<double> adjusted_p;  // Holm's, among the methods of one table
  std::int64_t n = 0;                // the least behind one seed's figure: tokens, sequences, …

  // The interval is there and does not cover zero.
  bool distinguishable() const;
};

// A table is what shares trained_on, model, evaluated_on, metric and setting; the rows of one table
// follow each other. Holm's correction is over the rows of a table.
std::vector<Comparison> comparisons(const Store& store, std::int64_t suite_id);  // with attnres

// The same with `oasis`, of all methods but the five baselines: its ablations and controls.
std::vector<Comparison> ablations(const Store& store, std::int64_t suite_id);

// Two answers to the same problems: a method beside attnres, or a setting beside the method's own
// full precision, under one seed and scoring rule.
struct AnswerPairs {
  std::string trained_on, model, evaluated_on, method, setting, beside, rule;
  std::int64_t seed = 0;
  std::int64_t gained = 0, lost = 0, n = 0;  // right here and wrong there, the other way, problems
  double p = 1;                              // McNemar's exact test
  double adjusted_p = 1;                     // Holm's, among all pairs of the suite under the rule
};
std::vector<AnswerPairs> answer_pairs(const Store& store, std::int64_t suite_id);

}  // namespace oasis
