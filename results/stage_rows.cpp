#include "results/stage_rows.h"

#include <cmath>

#include "results/bound_statement.h"
#include "support/error.h"

namespace oasis {
namespace {

std::optional<std::string> reason_without_value(const MetricRow& metric) {
  if (std::isfinite(metric.value)) return std::nullopt;
  if (!metric.reason.empty()) return metric.reason;
  return std::isnan(metric.value) ? "not a number" : "infinite";
}

}  // namespace

std::optional<double> finite(double value) {
  return std::isfinite(value) ? std::optional<double>(value) : std::nullopt;
}

void delete_results(SQLite::Database& database, std::int64_t stage_id) {
  for (const char* sql :
       {"DELETE FROM metrics WHERE stage_id = ?", "DELETE FROM site_statistics WHERE stage_id = ?",
        "DELETE FROM layer_statistics WHERE stage_id = ?",
        "DELETE FROM massive_activations WHERE stage_id = ?",
        "DELETE FROM examples WHERE stage_id = ?",
        ("DELETE FROM generation_scores"
         " WHERE generation_id IN (SELECT id FROM generations WHERE stage_id = ?)")}) {
    BoundStatement(database, sql).run(stage_id);
  }
}

void insert_metrics(SQLite::Database& database, std::int64_t stage_id, const std::string& dataset,
                    const std::vector<MetricRow>& metrics) {
  BoundStatement row(database,
                     "INSERT INTO metrics (stage_id, name, dataset, value, reason, "
                     "unit, n, varies, low,"
                     " high) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
  for (const auto& metric : metrics) {
    const auto& interval = metric.interval;
    row.run(stage_id, metric.name, metric.dataset.empty() ? dataset : metric.dataset,
            finite(metric.value), reason_without_value(metric), metric.unit, metric.n,
            metric.varies, interval ? std::optional(interval->low) : std::nullopt,
            interval ? std::optional(interval->high) : std::nullopt);
  }
}

void insert_scores(SQLite::Database& database, std::int64_t stage_id,
                   const std::vector<GenerationScore>& scores) {
  BoundStatement row(
      database,
      "INSERT OR REPLACE INTO generation_scores (generation_id, rule, extracted, correct)"
      " SELECT id, ?, ?, ? FROM generations WHERE stage_id = ? AND problem = ?");
  for (const auto& score : scores) {
    row.run(score.rule, score.extracted, score.correct, stage_id, score.problem);
    if (database.getChanges() == 0) {
      throw failed("stage {} has no generated text for problem {}, which is to be scored", stage_id,
                   score.problem);
    }
  }
}

void insert_results(SQLite::Database& database, std::int64_t stage_id, const std::string& dataset,
                    const StageResult& result) {
  const auto or_stage = [&dataset](const std::string& own) { return own.empty() ? dataset : own; };
  insert_metrics(database, stage_id, dataset, result.metrics);
  BoundStatement site_row(
      database,
      "INSERT INTO site_statistics (stage_id, dataset, quantity, site, value, unit, n)"
      " VALUES (?, ?, ?, ?, ?, ?, ?)");
  for (const auto& site : result.site_statistics) {
    site_row.run(stage_id, or_stage(site.dataset), site.quantity, site.site, finite(site.value),
                 site.unit, site.n);
  }
  BoundStatement layer_row(
      database,
      "INSERT INTO layer_statistics (stage_id, dataset, quantity, layer, part, head,"
      " source, value, unit, n) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
  for (const auto& layer : result.layer_statistics) {
    layer_row.run(stage_id, or_stage(layer.dataset), layer.quantity, layer.layer, layer.part,
                  layer.head, layer.source, finite(layer.value), layer.unit, layer.n);
  }
  BoundStatement massive_row(
      database,
      "INSERT INTO massive_activations (stage_id, dataset, token, text, position, channel,"
      " first_layer, last_layer, largest, largest_layer, n)"
      " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
  for (const auto& massive : result.massive_activations) {
    massive_row.run(stage_id, dataset, massive.token, massive.text, massive.position,
                    massive.channel, massive.first_layer, massive.last_layer, massive.largest,
                    massive.largest_layer, massive.n);
  }
  BoundStatement example_row(
      database,
      "INSERT INTO examples (stage_id, dataset, quantity, layer, part, rows, columns, stride,"
      " contents) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");
  for (const auto& example : result.examples) {
    example_row.run(stage_id, dataset, example.quantity, example.layer, example.part, example.rows,
                    example.columns, example.stride, Blob{example.contents});
  }
  insert_scores(database, stage_id, result.generation_scores);
}

}  // namespace oasis
