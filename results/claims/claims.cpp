#include "results/claims/claims.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "results/bound_statement.h"
#include "results/sql_text.h"
#include "results/statistics/statistics.h"
#include "results/table_data.h"
#include "results/table_text.h"
#include "support/text.h"

namespace oasis {
namespace {

ClaimsFile read_claims() {
  const auto json = nlohmann::json::parse(kClaimsJson);
  ClaimsFile file{json.at("version"), json.at("paper_setting"), {}};
  for (const auto& claim : json.at("claims")) {
    const auto value = claim.find("value");
    file.claims.push_back(
        {claim.at("id"), claim.at("text"), claim.at("direction") == "less",
         value == claim.end() ? std::nullopt : std::optional(value->get<double>()),
         claim.at("unit"), claim.at("source"), claim.at("answered_by"), claim.at("beside")});
  }
  return file;
}

struct Effects {
  std::map<std::int64_t, std::vector<double>> by_seed;  // one value for each setting
  std::set<std::string> settings;
  std::int64_t least_n = 0;
};

ClaimResult result_of(const Claim& claim, const std::string& reading, const Effects& effects) {
  ClaimResult result{claim,
                     reading,
                     {},
                     {},
                     {},
                     std::ssize(effects.settings),
                     effects.least_n,
                     ClaimVerdict::kNotRun};
  // A seed counts when every setting has it: else seeds would stand for different settings.
  for (const auto& [seed, values] : effects.by_seed) {
    if (values.size() == effects.settings.size()) result.by_seed.push_back(mean(values));
  }
  if (!result.by_seed.empty()) result.effect = mean(result.by_seed);
  result.interval = bootstrap_interval(result.by_seed);
  result.verdict = claim_verdict(claim.less, claim.value, result.effect, result.interval);
  return result;
}

}  // namespace

const ClaimsFile& paper_claims() {
  static const ClaimsFile file = read_claims();
  return file;
}

std::string_view to_string(ClaimVerdict verdict) {
  switch (verdict) {
    case ClaimVerdict::kNotRun:
      return "not run";
    case ClaimVerdict::kNotDistinguishable:
      return "not distinguishable";
    case ClaimVerdict::kContradicted:
      return "contradicted";
    case ClaimVerdict::kSameDirection:
      return "same direction";
    case ClaimVerdict::kReproduced:
      return "reproduced";
  }
  return "";
}

ClaimVerdict claim_verdict(bool less, std::optional<double> paper, std::optional<double> effect,
                           const std::optional<Interval>& interval) {
  if (!effect) return ClaimVerdict::kNotRun;
  if (!interval || (interval->low <= 0 && interval->high >= 0)) {
    return ClaimVerdict::kNotDistinguishable;
  }
  if ((interval->high < 0) != less) return ClaimVerdict::kContradicted;
  if (!paper) return ClaimVerdict::kReproduced;
  // The end of the interval that is further from zero reaches the paper's figure, or not.
  const double furthest = std::max(std::abs(interval->low), std::abs(interval->high));
  return furthest >= std::abs(*paper) ? ClaimVerdict::kReproduced : ClaimVerdict::kSameDirection;
}

std::vector<ClaimResult> claim_results(const Store& store, std::int64_t suite_id) {
  std::map<std::pair<std::string, std::string>, Effects> found;  // claim and reading
  each_row(store,
           "SELECT id, reading, trained_on, model, evaluated_on, seed, effect, n FROM claim_effects"
           " WHERE suite_id = ? AND effect IS NOT NULL"
           " ORDER BY id, reading, seed, trained_on, model, evaluated_on",
           suite_id, [&](BoundStatement& row) {
             auto& effects = found[{row.text(0), row.text(1)}];
             effects.settings.insert(row.text(2) + "\n" + row.text(3) + "\n" + row.text(4));
             effects.by_seed[row.integer(5)].push_back(row.real(6));
             const auto n = row.integer(7);
             effects.least_n = effects.least_n == 0 ? n : std::min(effects.least_n, n);
           });
  std::vector<ClaimResult> results;
  for (const auto& claim : paper_claims().claims) {
    const auto before = results.size();
    for (auto reading = found.lower_bound({claim.id, ""});
         reading != found.end() && reading->first.first == claim.id; ++reading) {
      results.push_back(result_of(claim, reading->first.second, reading->second));
    }
    if (results.size() == before) results.push_back(result_of(claim, claim.beside, {}));
  }
  return results;
}

std::string our_setting(const Store& store, std::int64_t suite_id) {
  std::vector<std::string> models;
  each_row(store,
           "SELECT DISTINCT model, json_extract(config, '$.model.num_hidden_layers'),"
           " json_extract(config, '$.model.hidden_size'),"
           " json_extract(config, '$.model.oasis.routing'),"
           " EXISTS (SELECT 1 FROM cell_stages x JOIN stages t ON t.id = x.stage_id"
           "  WHERE x.cell_id = cells.id AND json_extract(t.config, '$.checkpoint') IS NOT NULL)"
           " FROM cells WHERE suite_id = ? AND method = 'oasis' ORDER BY 1",
           suite_id, [&](BoundStatement& row) {
             std::string text = "model " + row.text(0);
             if (!row.is_null(1)) {
               text += fmt::format(" ({} layers, hidden {}{})", row.integer(1), row.integer(2),
                                   row.is_null(3) ? "" : ", " + row.text(3) + " routing");
             }
             text +=
                 row.integer(4) == 0 ? ", from random weights" : ", continued from a checkpoint";
             models.push_back(text);
           });
  std::vector<std::string> trained;
  each_row(store,
           "SELECT trained_on, max(tokens) FROM table_training WHERE suite_id = ?"
           " GROUP BY trained_on ORDER BY trained_on",
           suite_id, [&](BoundStatement& row) {
             trained.push_back(
                 fmt::format("{} tokens of {}", format_count(row.integer(1)), row.text(0)));
           });
  if (models.empty()) return "oasis was not part of the suite";
  return join(models, "; ") + (trained.empty() ? "" : "; " + join(trained, ", "));
}

}  // namespace oasis
