// The paper's claims beside what a suite measured: a method against a reference, paired by seed.
//
// The claims stand in claims.json, which has a version; the rule of the verdict is written in
// docs/statistics.md and below.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "results/store.h"
#include "support/wilson_interval.h"

namespace oasis {

struct Claim {
  std::string id, text;
  bool less = false;            // the paper says that it is less; else more
  std::optional<double> value;  // the paper's figure; empty: it is said in words only
  std::string unit;             // "%" of the reference's figure, or "points" of a share
  std::string source;           // where it is said
  std::string answered_by;      // our metric and precision
  std::string beside;           // the reference of its first reading
};
struct ClaimsFile {
  std::int64_t version = 0;
  std::string paper_setting;
  std::vector<Claim> claims;
};
const ClaimsFile& paper_claims();

enum class ClaimVerdict {
  kNotRun,              // no seed has both figures
  kNotDistinguishable,  // fewer than three seeds, or an interval that covers zero
  kContradicted,        // the interval lies on the other side of zero than the paper's figure
  kSameDirection,       // on the paper's side, but short of its figure
  kReproduced,  // on the paper's side, and holds its figure, if it has one, or lies beyond it
};
std::string_view to_string(ClaimVerdict verdict);  // "not distinguishable", …

// `effect`: empty when nothing was run; `interval`: of it over seeds, empty for fewer than three
// seeds.
ClaimVerdict claim_verdict(bool less, std::optional<double> paper, std::optional<double> effect,
                           const std::optional<Interval>& interval);

struct ClaimResult {
  Claim claim;
  std::string reading;  // the reference: "attnres", …, or "five baselines": the mean of them
  std::optional<double> effect;      // mean over seeds of the mean over settings, in claim.unit
  std::optional<Interval> interval;  // at 95 %, bootstrap over seeds; from three on
  std::vector<double> by_seed;       // of the seeds that every setting has
  std::int64_t settings = 0;         // trained on × model × evaluated on
  std::int64_t least_n = 0;          // the least n behind a figure: tokens, sequences, problems
  ClaimVerdict verdict = ClaimVerdict::kNotRun;
};

// Every claim under each of its readings, in the order of the file; a claim that was not run once.
std::vector<ClaimResult> claim_results(const Store& store, std::int64_t suite_id);

// What the suite ran instead of the paper's setting: "model tiny (4 layers, hidden 128), …".
std::string our_setting(const Store& store, std::int64_t suite_id);

}  // namespace oasis
