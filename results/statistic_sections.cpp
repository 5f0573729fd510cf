#include "results/statistic_sections.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "results/claims/claims.h"
#include "results/statistics/comparisons.h"
#include "results/table_text.h"

namespace oasis {
namespace {

QueryCell cell(const std::optional<double>& value) {
  return value ? QueryCell(*value) : QueryCell(std::monostate{});
}

std::string interval_text(const std::optional<Interval>& interval) {
  return interval ? fmt::format("[{:+.2f}, {:+.2f}]", interval->low, interval->high) : "–";
}

std::string p_text(const std::optional<double>& p) {
  if (!p) return "–";
  return *p < 0.0001 ? "< 0.0001" : fmt::format("{:.4f}", *p);
}

std::string finding(const Comparison& row) {
  if (!row.interval) return "fewer than 3 seeds";
  if (!row.distinguishable()) return "not distinguishable";
  return row.effect < 0 ? "lower" : "higher";
}

std::string seeds_text(std::size_t seeds) {
  return seeds == 0 ? "–" : std::to_string(seeds);
}

std::string comparison_tables(const std::vector<Comparison>& rows, const char* without_any) {
  std::string text;
  for (auto first = rows.begin(); first != rows.end();) {
    TextTable table{{{"Method", false},
                     {"difference", true},
                     {"95 % interval", true},
                     {"seeds", true},
                     {"p", true},
                     {"p (Holm)", true},
                     {"finding", false}},
                    {}};
    const auto begin = first;
    std::int64_t n = first->n;
    for (; first != rows.end() && first->trained_on == begin->trained_on &&
           first->model == begin->model && first->evaluated_on == begin->evaluated_on &&
           first->metric == begin->metric && first->setting == begin->setting;
         ++first) {
      n = std::min(n, first->n);
      const auto deviation =
          first->deviation ? fmt::format(" ± {:.2f}", *first->deviation) : std::string();
      table.rows.push_back({markdown_cell(first->method),
                            fmt::format("{:+.2f}{} {}", first->effect, deviation, first->unit),
                            interval_text(first->interval), seeds_text(first->effects.size()),
                            p_text(first->p), p_text(first->adjusted_p), finding(*first)});
    }
    text +=
        fmt::format("**{}, {}: model {} trained on {}, evaluated on {}** · n per seed: {}\n\n{}\n",
                    markdown_cell(begin->metric), markdown_cell(begin->setting),
                    markdown_cell(begin->model), markdown_cell(begin->trained_on),
                    markdown_cell(begin->evaluated_on), format_count(n), to_markdown(table));
  }
  return text.empty() ? without_any : text;
}

ResultRows comparison_rows(const std::string& suite, const std::vector<Comparison>& comparisons) {
  ResultRows result{
      {"suite", "trained_on", "model", "evaluated_on", "metric", "setting", "method", "unit",
       "effect", "deviation", "low", "high", "seeds", "p", "p_holm", "n", "finding"},
      {}};
  for (const auto& row : comparisons) {
    result.rows.push_back({suite, row.trained_on, row.model, row.evaluated_on, row.metric,
                           row.setting, row.method, row.unit, row.effect, cell(row.deviation),
                           cell(row.interval ? std::optional(row.interval->low) : std::nullopt),
                           cell(row.interval ? std::optional(row.interval->high) : std::nullopt),
                           std::ssize(row.effects), cell(row.p), cell(row.adjusted_p), row.n,
                           finding(row)});
  }
  return result;
}

}  // namespace

std::string claims_section(const TableScope& scope) {
  TextTable table{{{"Claim", false},
                   {"paper", true},
                   {"beside", false},
                   {"ours", true},
                   {"95 % interval", true},
                   {"seeds", true},
                   {"settings", true},
                   {"least n", true},
                   {"verdict", false},
                   {"source", false}},
                  {}};
  for (const auto& result : claim_results(scope.store, scope.suite.id)) {
    const auto& claim = result.claim;
    table.rows.push_back(
        {markdown_cell(claim.text),
         claim.value ? fmt::format("{:+.2f} {}", *claim.value, claim.unit)
                     : std::string(claim.less ? "less" : "more"),
         result.reading,
         result.effect ? fmt::format("{:+.2f} {}", *result.effect, claim.unit) : "not run",
         interval_text(result.interval), seeds_text(result.by_seed.size()),
         std::to_string(result.settings), result.least_n > 0 ? format_count(result.least_n) : "–",
         std::string(to_string(result.verdict)), markdown_cell(claim.source)});
  }
  return fmt::format("{}\nThe paper's setting: {}. Ours: {}.\n\n", to_markdown(table),
                     markdown_cell(paper_claims().paper_setting),
                     markdown_cell(our_setting(scope.store, scope.suite.id)));
}

ResultRows claims_rows(const TableScope& scope) {
  ResultRows result{{"suite", "claim", "text", "direction", "paper", "unit", "reading", "effect",
                     "low", "high", "seeds", "settings", "least_n", "verdict", "answered_by",
                     "source", "claims_version", "paper_setting", "our_setting"},
                    {}};
  const auto setting = our_setting(scope.store, scope.suite.id);
  for (const auto& row : claim_results(scope.store, scope.suite.id)) {
    result.rows.push_back(
        {scope.suite.name, row.claim.id, row.claim.text, row.claim.less ? "less" : "more",
         cell(row.claim.value), row.claim.unit, row.reading, cell(row.effect),
         cell(row.interval ? std::optional(row.interval->low) : std::nullopt),
         cell(row.interval ? std::optional(row.interval->high) : std::nullopt),
         std::ssize(row.by_seed), row.settings, row.least_n, std::string(to_string(row.verdict)),
         row.claim.answered_by, row.claim.source, paper_claims().version,
         paper_claims().paper_setting, setting});
  }
  return result;
}

std::string comparisons_section(const TableScope& scope) {
  return comparison_tables(comparisons(scope.store, scope.suite.id),
                           "No method was measured beside attnres under the same seed.\n\n");
}
ResultRows comparisons_rows(const TableScope& scope) {
  return comparison_rows(scope.suite.name, comparisons(scope.store, scope.suite.id));
}

std::string ablations_section(const TableScope& scope) {
  return comparison_tables(ablations(scope.store, scope.suite.id),
                           "No ablation was measured beside oasis under the same seed.\n\n");
}
ResultRows ablations_rows(const TableScope& scope) {
  return comparison_rows(scope.suite.name, ablations(scope.store, scope.suite.id));
}

std::string answer_pairs_section(const TableScope& scope) {
  TextTable table{{{"Method", false},
                   {"trained on", false},
                   {"model", false},
                   {"seed", true},
                   {"setting", false},
                   {"beside", false},
                   {"rule", false},
                   {"gained", true},
                   {"lost", true},
                   {"n", true},
                   {"p (McNemar)", true},
                   {"p (Holm)", true}},
                  {}};
  for (const auto& row : answer_pairs(scope.store, scope.suite.id)) {
    table.rows.push_back({markdown_cell(row.method), markdown_cell(row.trained_on),
                          markdown_cell(row.model), std::to_string(row.seed),
                          markdown_cell(row.setting), row.beside, markdown_cell(row.rule),
                          format_count(row.gained), format_count(row.lost), format_count(row.n),
                          p_text(row.p), p_text(row.adjusted_p)});
  }
  return table.rows.empty() ? "No two stages answered the same problems.\n\n"
                            : to_markdown(table) + "\n";
}

ResultRows answer_pairs_rows(const TableScope& scope) {
  ResultRows result{{"suite", "trained_on", "model", "evaluated_on", "method", "seed", "setting",
                     "beside", "rule", "gained", "lost", "n", "p", "p_holm"},
                    {}};
  for (const auto& row : answer_pairs(scope.store, scope.suite.id)) {
    result.rows.push_back({scope.suite.name, row.trained_on, row.model, row.evaluated_on,
                           row.method, row.seed, row.setting, row.beside, row.rule, row.gained,
                           row.lost, row.n, row.p, row.adjusted_p});
  }
  return result;
}

}  // namespace oasis
