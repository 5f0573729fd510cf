#include "results/table_data.h"

#include <fmt/format.h>

#include "results/sqlite_error.h"
#include "support/error.h"
#include "support/text.h"

namespace oasis {
namespace {

std::optional<double> optional_real(BoundStatement& query, int column) {
  if (query.is_null(column)) return std::nullopt;
  return query.real(column);
}

std::optional<std::int64_t> optional_integer(BoundStatement& query, int column) {
  if (query.is_null(column)) return std::nullopt;
  return query.integer(column);
}

// Every figure query gives the same columns, in the order of this reader.
TableFigures read_figures(const Store& store, std::int64_t suite_id, const char* sql) {
  TableFigures figures;
  each_row(store, sql, suite_id, [&](BoundStatement& row) {
    FigureKey key{row.text(0), row.text(1), row.text(2), row.text(3), row.text(4), row.text(5)};
    figures[key] = {.mean = row.real(6),
                    .deviation = optional_real(row, 7),
                    .low = optional_real(row, 17),
                    .high = optional_real(row, 18),
                    .seeds = row.integer(8),
                    .n = row.integer(9),
                    .has_value = !row.is_null(6),
                    .best = row.integer(10) != 0,
                    .unit = row.text(11),
                    .reason = row.text(12),
                    .percent_vs_attnres = optional_real(row, 13),
                    .ratio_to_full = optional_real(row, 14),
                    .seeds_massive = optional_integer(row, 15),
                    .seeds_counted = optional_integer(row, 16)};
  });
  return figures;
}

}  // namespace

void each_row(const Store& store, const char* sql, std::int64_t suite_id,
              const std::function<void(BoundStatement&)>& row) {
  guarded(store.path(), store.database(), [&] {
    BoundStatement query(store.database(), sql);
    query.bind_all(suite_id);
    while (query.step()) row(query);
  });
}

std::string without_order(const std::string& sorted) {
  return sorted.substr(sorted.find('|') + 1);  // all of it when there is no order
}

std::vector<SuiteInfo> newest_suites(const Store& store, const std::string& name) {
  return guarded(store.path(), store.database(), [&] {
    BoundStatement query(store.database(),
                         "SELECT suite_id, suite, suite_hash, source_revisions, devices"
                         " FROM suite_provenance WHERE newest ORDER BY suite_id");
    std::vector<SuiteInfo> suites;
    std::vector<std::string> names;
    while (query.step()) {
      names.push_back(query.text(1));
      if (!name.empty() && query.text(1) != name) continue;
      suites.push_back(
          {query.integer(0), query.text(1), query.text(2), query.text(3), query.text(4)});
    }
    if (names.empty()) {
      throw bad_input("{}: holds no suite yet; run one with oasis reproduce",
                      store.path().string());
    }
    if (suites.empty()) {
      throw bad_input("{}: no suite '{}' in it{}", store.path().string(), name,
                      suggestion(name, names));
    }
    return suites;
  });
}

std::string CellGroup::missing() const {
  if (failed > 0) return "failed";
  if (running > 0) return "running";
  if (stopped > 0) return "stopped";
  if (not_run > 0) return "not run";
  return done == planned ? "–" : "unfinished";
}

std::string CellGroup::seeds(std::int64_t with_figure) const {
  return with_figure == planned ? std::to_string(planned)
                                : fmt::format("{} of {}", with_figure, planned);
}

std::vector<CellGroup> groups_of(const Store& store, std::int64_t suite_id) {
  std::vector<CellGroup> groups;
  each_row(store,
           "SELECT trained_on, model, method, seeds_planned, seeds_done, seeds_failed,"
           " seeds_running, seeds_stopped, seeds_not_run, reason FROM group_states"
           " WHERE suite_id = ? ORDER BY first_cell",
           suite_id, [&](BoundStatement& row) {
             groups.push_back({.trained_on = row.text(0),
                               .model = row.text(1),
                               .method = row.text(2),
                               .planned = row.integer(3),
                               .done = row.integer(4),
                               .failed = row.integer(5),
                               .running = row.integer(6),
                               .stopped = row.integer(7),
                               .not_run = row.integer(8),
                               .reason = row.text(9)});
           });
  return groups;
}

TableFigures outlier_figures(const Store& store, std::int64_t suite_id) {
  return read_figures(store, suite_id,
                      "SELECT trained_on, model, evaluated_on, method, '', metric, mean, sd, seeds,"
                      " n, best, unit, reason, percent_vs_attnres, NULL, seeds_massive,"
                      " seeds_counted, NULL, NULL FROM table_outliers WHERE suite_id = ?");
}

TableFigures perplexity_figures(const Store& store, std::int64_t suite_id) {
  return read_figures(
      store, suite_id,
      "SELECT trained_on, model, evaluated_on, method, '', metric, mean, sd, seeds,"
      " n, best, unit, reason, NULL, NULL, NULL, NULL, NULL, NULL FROM table_perplexity"
      " WHERE suite_id = ?");
}

TableFigures quantization_figures(const Store& store, std::int64_t suite_id) {
  return read_figures(store, suite_id,
                      "SELECT trained_on, model, evaluated_on, method, '',"
                      " printf('%06d|', setting_order) || setting, mean, sd, seeds, n, best, unit,"
                      " reason, percent_vs_attnres, ratio_to_full, seeds_massive, seeds_counted,"
                      " NULL, NULL FROM table_quantization WHERE suite_id = ?");
}

TableFigures gsm8k_figures(const Store& store, std::int64_t suite_id) {
  return read_figures(
      store, suite_id,
      "SELECT trained_on, model, evaluated_on, method,"
      " printf('%06d|', setting_order) || setting, rule, 100 * mean, 100 * sd, seeds,"
      " n, best, '%', reason, NULL, NULL, NULL, NULL, 100 * low, 100 * high"
      " FROM table_gsm8k WHERE suite_id = ?");
}

TableFigures sink_figures(const Store& store, std::int64_t suite_id) {
  return read_figures(store, suite_id,
                      "SELECT trained_on, model, evaluated_on, method, '', metric, mean, sd, seeds,"
                      " n, 0, unit, reason, NULL, NULL, NULL, NULL, NULL, NULL FROM table_sinks"
                      " WHERE suite_id = ?");
}

TableFigures depth_figures(const Store& store, std::int64_t suite_id) {
  return read_figures(
      store, suite_id,
      "SELECT trained_on, model, evaluated_on, method,"
      " CASE WHEN layer IS NULL THEN '99999|final'"
      " ELSE printf('%05d|layer %d %s', layer, layer, part) END,"
      " share, mean, sd, seeds, n, 0, unit, '', NULL, NULL, NULL, NULL, NULL, NULL FROM table_depth"
      " WHERE suite_id = ?");
}

}  // namespace oasis
