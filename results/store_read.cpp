#include <SQLiteCpp/Database.h>

#include <limits>

#include "results/bound_statement.h"
#include "results/sqlite_error.h"
#include "results/store.h"
#include "support/error.h"

namespace oasis {
namespace {

constexpr const char* kStageByKey =
    "SELECT t.id, key, kind, parent_key, config, evaluated_on, weight_bits, activation_bits, "
    "points,"
    " quantizer, state, ifnull(run_id, 0), device, dtype, step, seconds, error, artifact_path,"
    " artifact_sha256, shots FROM stages t WHERE key = ?";
constexpr const char* kStagesOfCell =
    "SELECT t.id, key, kind, parent_key, config, evaluated_on, weight_bits, activation_bits, "
    "points,"
    " quantizer, state, ifnull(run_id, 0), device, dtype, step, seconds, error, artifact_path,"
    " artifact_sha256, shots FROM cell_stages x JOIN stages t ON t.id = x.stage_id WHERE x.cell_id "
    "= ?"
    " ORDER BY t.id";

StageState state_from(const std::string& text) {
  for (const auto state : {StageState::kPending, StageState::kRunning, StageState::kDone,
                           StageState::kFailed, StageState::kStopped}) {
    if (to_string(state) == text) return state;
  }
  throw failed("the database holds a stage in the unknown state '{}'", text);
}

std::optional<int> bits(BoundStatement& query, int column) {
  if (query.is_null(column)) return std::nullopt;
  return static_cast<int>(query.integer(column));
}

double real_or_nan(BoundStatement& query, int column) {
  return query.is_null(column) ? std::numeric_limits<double>::quiet_NaN() : query.real(column);
}

StageRow stage_from(BoundStatement& query) {
  StageRow row;
  row.id = query.integer(0);
  row.spec = {.key = query.text(1),
              .kind = query.text(2),
              .parent_key = query.text(3),
              .config_json = query.text(4),
              .evaluated_on = query.text(5),
              .weight_bits = bits(query, 6),
              .activation_bits = bits(query, 7),
              .points = query.text(8),
              .quantizer = query.text(9)};
  row.state = state_from(query.text(10));
  row.run_id = query.integer(11);
  row.device = query.text(12);
  row.dtype = query.text(13);
  if (!query.is_null(14)) row.step = query.integer(14);
  row.seconds = query.real(15);
  row.error = query.text(16);
  row.artifact_path = query.text(17);
  row.artifact_sha256 = query.text(18);
  if (!query.is_null(19)) row.spec.shots = query.integer(19);
  return row;
}

}  // namespace

std::string_view to_string(StageState state) {
  switch (state) {
    case StageState::kPending:
      return "pending";
    case StageState::kRunning:
      return "running";
    case StageState::kDone:
      return "done";
    case StageState::kFailed:
      return "failed";
    case StageState::kStopped:
      return "stopped";
  }
  throw failed("no such stage state: {}", static_cast<int>(state));
}

std::optional<StageRow> Store::find_stage(std::string_view key) const {
  return guarded(path_, *database_, [&]() -> std::optional<StageRow> {
    BoundStatement query(*database_, kStageByKey);
    query.bind_all(key);
    if (!query.step()) return std::nullopt;
    return stage_from(query);
  });
}

std::vector<StageRow> Store::stages(std::int64_t cell_id) const {
  return guarded(path_, *database_, [&] {
    BoundStatement query(*database_, kStagesOfCell);
    query.bind_all(cell_id);
    std::vector<StageRow> rows;
    while (query.step()) rows.push_back(stage_from(query));
    return rows;
  });
}

std::vector<MetricRow> Store::metrics(std::int64_t stage_id) const {
  return guarded(path_, *database_, [&] {
    BoundStatement query(
        *database_,
        "SELECT name, value, unit, n, dataset, reason, varies, low, high FROM metrics"
        " WHERE stage_id = ? ORDER BY dataset, name");
    query.bind_all(stage_id);
    std::vector<MetricRow> rows;
    while (query.step()) {
      rows.push_back({.name = query.text(0),
                      .value = real_or_nan(query, 1),
                      .unit = query.text(2),
                      .n = query.integer(3),
                      .dataset = query.text(4),
                      .reason = query.text(5),
                      .varies = query.integer(6) != 0});
      if (!query.is_null(7)) rows.back().interval = Interval{query.real(7), query.real(8)};
    }
    return rows;
  });
}

std::vector<CurvePoint> Store::curve(std::int64_t stage_id) const {
  return guarded(path_, *database_, [&] {
    BoundStatement query(*database_,
                         "SELECT step, tokens, loss, learning_rate, gradient_norm, seconds_per_step"
                         " FROM curves WHERE stage_id = ? ORDER BY step");
    query.bind_all(stage_id);
    std::vector<CurvePoint> points;
    while (query.step()) {
      points.push_back({.step = query.integer(0),
                        .tokens = query.integer(1),
                        .loss = real_or_nan(query, 2),
                        .learning_rate = query.real(3),
                        .gradient_norm = real_or_nan(query, 4),
                        .seconds_per_step = real_or_nan(query, 5)});
    }
    return points;
  });
}

std::string Store::comparable_contents() const {
  return guarded(path_, *database_, [&] {
    BoundStatement query(
        *database_, "SELECT kind || ' ' || subject || ' ' || contents FROM comparable ORDER BY 1");
    std::string text;
    while (query.step()) text += query.text(0) + '\n';
    return text;
  });
}

}  // namespace oasis
