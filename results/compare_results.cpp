#include "results/compare_results.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <tuple>
#include <utility>

#include "results/bound_statement.h"
#include "results/sqlite_error.h"
#include "results/statistics/statistics.h"

namespace oasis {
namespace {

struct CellName {
  std::string suite, trained_on, model, method;
  std::int64_t seed = 0;

  auto operator<=>(const CellName&) const = default;  // NOLINT(modernize-use-nullptr)
  std::string text() const {
    return fmt::format("{}: {}/{}/{}/{}", suite, method, trained_on, model, seed);
  }
};

struct CellFacts {
  std::string config;
  std::string failure;  // kind and reason of a failed stage, '' without
};

struct FigureName {
  std::string suite, trained_on, model, evaluated_on;
  std::int64_t setting_order = 0;
  std::string setting, metric, method, unit;

  auto operator<=>(const FigureName&) const = default;  // NOLINT(modernize-use-nullptr)
};

using Seeds = std::map<std::int64_t, double>;

struct Run {
  std::map<CellName, CellFacts> cells;
  std::map<FigureName, Seeds> figures;
};

Run read(const Store& store) {
  return guarded(store.path(), store.database(), [&] {
    Run run;
    BoundStatement cells(store.database(),
                         "SELECT s.suite, c.dataset, c.model, c.label, c.seed, c.config,"
                         " (SELECT t.kind || ': ' || t.error FROM cell_stages x"
                         "  JOIN stages t ON t.id = x.stage_id AND t.state = 'failed'"
                         "  WHERE x.cell_id = c.id ORDER BY t.id LIMIT 1)"
                         " FROM suite_provenance s JOIN cells c ON c.suite_id = s.suite_id"
                         " WHERE s.newest");
    while (cells.step()) {
      run.cells[{cells.text(0), cells.text(1), cells.text(2), cells.text(3), cells.integer(4)}] = {
          cells.text(5), cells.text(6)};
    }
    BoundStatement figures(store.database(),
                           "SELECT m.suite, m.trained_on, m.model, m.evaluated_on, m.setting_order,"
                           " m.setting, m.metric, m.method, m.unit, m.seed, m.value"
                           " FROM suite_provenance s JOIN cell_metrics m ON m.suite_id = s.suite_id"
                           " WHERE s.newest AND NOT m.varies AND m.value IS NOT NULL");
    while (figures.step()) {
      run.figures[{figures.text(0), figures.text(1), figures.text(2), figures.text(3),
                   figures.integer(4), figures.text(5), figures.text(6), figures.text(7),
                   figures.text(8)}][figures.integer(9)] = figures.real(10);
    }
    return run;
  });
}

bool starts_with_any(const std::string& metric, const auto& names) {
  return std::ranges::any_of(names,
                             [&](std::string_view name) { return metric.starts_with(name); });
}

// −1: less is better, 1: more is, 0: neither.
int good_direction(const std::string& metric) {
  constexpr std::array<std::string_view, 7> kLess = {
      "perplexity",   "bits_per_byte", "loss",        "word_perplexity",
      "max_inf_norm", "avg_kurtosis",  "max_kurtosis"};
  constexpr std::array<std::string_view, 1> kMore = {"gsm8k_pass1"};
  return starts_with_any(metric, kLess) ? -1 : starts_with_any(metric, kMore) ? 1 : 0;
}

bool is_share(const std::string& metric) {
  constexpr std::array<std::string_view, 3> kShares = {"gsm8k_pass1", "first_token_mass",
                                                       "sink_rate"};
  return starts_with_any(metric, kShares);
}

FigureVerdict verdict_of(const FigureChange& figure, bool equal) {
  if (equal) return FigureVerdict::kEqual;
  if (!figure.interval) return FigureVerdict::kNoiseUnknown;
  const bool covers_zero = figure.interval->low <= 0 && figure.interval->high >= 0;
  const bool relative = figure.effect_unit == "%" || figure.effect_unit == "points";
  if (covers_zero || (relative && std::abs(figure.effect) <= kSmallestDifference)) {
    return FigureVerdict::kNotDistinguishable;
  }
  const int good = good_direction(figure.metric);
  if (good == 0) return figure.effect < 0 ? FigureVerdict::kLower : FigureVerdict::kHigher;
  return (figure.effect < 0) == (good < 0) ? FigureVerdict::kBetter : FigureVerdict::kWorse;
}

FigureChange change_of(const FigureName& name,
                       const std::vector<std::pair<double, double>>& pairs) {
  FigureChange change{name.suite,   name.trained_on, name.model, name.evaluated_on,
                      name.setting, name.method,     name.metric};
  const bool points = is_share(name.metric);
  const bool percent =
      !points && std::ranges::none_of(pairs, [](const auto& pair) { return pair.first == 0; });
  change.effect_unit = points ? "points" : percent ? "%" : name.unit;
  std::vector<double> before, after, effects;
  for (const auto& [old, now] : pairs) {
    before.push_back(old);
    after.push_back(now);
    effects.push_back(points ? 100 * (now - old) : percent ? 100 * (now / old - 1) : now - old);
  }
  change.seeds = std::ssize(pairs);
  change.before = mean(before);
  change.after = mean(after);
  change.effect = mean(effects);
  change.interval = bootstrap_interval(effects);
  change.verdict = verdict_of(change, before == after);
  return change;
}

}  // namespace

std::string_view to_string(FigureVerdict verdict) {
  constexpr std::array<std::string_view, 7> kTexts = {
      "equal", "not distinguishable", "noise unknown", "better", "worse", "lower", "higher"};
  return kTexts[static_cast<std::size_t>(verdict)];
}

std::int64_t ResultComparison::regressions() const {
  return std::ranges::count(figures, FigureVerdict::kWorse, &FigureChange::verdict) +
         std::ssize(failed);
}

ResultComparison compare_results(const Store& earlier, const Store& later) {
  const auto before = read(earlier), after = read(later);
  ResultComparison result;
  std::map<CellName, bool> alike;
  for (const auto& [name, facts] : after.cells) {
    const auto old = before.cells.find(name);
    if (old == before.cells.end()) continue;
    alike[name] = old->second.config == facts.config;
    if (!alike[name]) result.unlike.push_back(name.text());
    if (!facts.failure.empty() && old->second.failure.empty()) {
      result.failed.push_back(fmt::format("{}: {}", name.text(), facts.failure));
    }
  }
  for (const auto& [name, seeds] : after.figures) {
    const auto old = before.figures.find(name);
    std::vector<std::pair<double, double>> pairs;
    for (const auto& [seed, value] : seeds) {
      const auto cell = alike.find({name.suite, name.trained_on, name.model, name.method, seed});
      if (cell != alike.end() && !cell->second) continue;
      const bool both = old != before.figures.end() && old->second.contains(seed);
      if (both) pairs.emplace_back(old->second.at(seed), value);
      if (!both) ++result.only_after;
    }
    if (!pairs.empty()) result.figures.push_back(change_of(name, pairs));
  }
  for (const auto& [name, seeds] : before.figures) {
    const auto now = after.figures.find(name);
    for (const auto& [seed, value] : seeds) {
      if (now == after.figures.end() || !now->second.contains(seed)) ++result.only_before;
    }
  }
  constexpr std::array kOrder = {6, 5, 4, 1, 0, 2, 3};  // by verdict: worse first, equal last
  std::ranges::stable_sort(result.figures, {}, [&](const FigureChange& figure) {
    return kOrder[static_cast<std::size_t>(figure.verdict)];
  });
  return result;
}

}  // namespace oasis
