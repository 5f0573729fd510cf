#include "results/statistics/comparisons.h"

#include <algorithm>
#include <map>

#include "results/bound_statement.h"
#include "results/statistics/statistics.h"
#include "results/table_data.h"

namespace oasis {
namespace {

bool one_table(const Comparison& a, const Comparison& b) {
  return a.trained_on == b.trained_on && a.model == b.model && a.evaluated_on == b.evaluated_on &&
         a.metric == b.metric && a.setting == b.setting;
}

// Holm's correction among the rows of each table that have a p.
void correct_tables(std::vector<Comparison>& rows) {
  for (auto first = rows.begin(); first != rows.end();) {
    const auto last =
        std::find_if(first, rows.end(), [&](const auto& row) { return !one_table(row, *first); });
    std::vector<double> p;
    for (auto row = first; row != last; ++row) {
      if (row->p) p.push_back(*row->p);
    }
    const auto adjusted = holm(p);
    auto next = adjusted.begin();
    for (; first != last; ++first) {
      if (first->p) first->adjusted_p = *next++;
    }
  }
}

#define OASIS_EFFECTS                                                               \
  "SELECT e.trained_on, e.model, e.evaluated_on, e.metric, e.setting, e.method,"    \
  " e.effect_unit, e.effect, e.n FROM paired_effects e"                             \
  " JOIN group_states g ON g.suite_id = e.suite_id AND g.trained_on = e.trained_on" \
  "  AND g.model = e.model AND g.method = e.method"                                 \
  " WHERE e.suite_id = ? AND e.effect IS NOT NULL AND "
#define OASIS_IN_ORDER                                                                     \
  " ORDER BY e.trained_on, e.model, e.evaluated_on, e.metric, e.setting_order, e.setting," \
  "  g.first_cell, e.seed"

std::vector<Comparison> read_comparisons(const Store& store, std::int64_t suite_id,
                                         const char* sql) {
  std::vector<Comparison> rows;
  each_row(store, sql, suite_id, [&](BoundStatement& row) {
    Comparison next;
    next.trained_on = row.text(0);
    next.model = row.text(1);
    next.evaluated_on = row.text(2);
    next.metric = row.text(3);
    next.setting = row.text(4);
    next.method = row.text(5);
    next.unit = row.text(6);
    next.n = row.integer(8);
    if (rows.empty() || !one_table(rows.back(), next) || rows.back().method != next.method) {
      rows.push_back(next);
    }
    rows.back().effects.push_back(row.real(7));
    rows.back().n = std::min(rows.back().n, next.n);
  });
  for (auto& row : rows) {
    row.effect = mean(row.effects);
    row.deviation = sample_deviation(row.effects);
    row.interval = bootstrap_interval(row.effects);
    row.p = sign_flip_p(row.effects);
  }
  correct_tables(rows);
  return rows;
}

}  // namespace

bool Comparison::distinguishable() const {
  return interval && (interval->low > 0 || interval->high < 0);
}

std::vector<Comparison> comparisons(const Store& store, std::int64_t suite_id) {
  return read_comparisons(store, suite_id, OASIS_EFFECTS "e.beside = 'attnres'" OASIS_IN_ORDER);
}

std::vector<Comparison> ablations(const Store& store, std::int64_t suite_id) {
  return read_comparisons(store, suite_id,
                          OASIS_EFFECTS
                          "e.beside = 'oasis' AND e.method NOT IN ('attnres', 'clipped_softmax',"
                          " 'gated_attention', 'softmax1', 'sparsemax')" OASIS_IN_ORDER);
}

std::vector<AnswerPairs> answer_pairs(const Store& store, std::int64_t suite_id) {
  std::vector<AnswerPairs> pairs;
  each_row(store,
           "SELECT trained_on, model, evaluated_on, method, setting, beside, rule, seed, gained,"
           " lost, n FROM gsm8k_pairs WHERE suite_id = ?"
           " ORDER BY trained_on, model, evaluated_on, rule, beside, method, setting, seed",
           suite_id, [&](BoundStatement& row) {
             AnswerPairs next{row.text(0),    row.text(1),    row.text(2),    row.text(3),
                              row.text(4),    row.text(5),    row.text(6),    row.integer(7),
                              row.integer(8), row.integer(9), row.integer(10)};
             next.p = mcnemar_p(next.gained, next.lost);
             pairs.push_back(next);
           });
  std::map<std::string, std::vector<double>> by_rule;
  for (const auto& pair : pairs) by_rule[pair.rule].push_back(pair.p);
  std::map<std::string, std::size_t> next;
  for (auto& [rule, p] : by_rule) p = holm(p);
  for (auto& pair : pairs) pair.adjusted_p = by_rule[pair.rule][next[pair.rule]++];
  return pairs;
}

}  // namespace oasis
