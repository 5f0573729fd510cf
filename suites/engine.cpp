#include "suites/engine.h"

#include <chrono>
#include <exception>
#include <thread>

#include "suites/cell_lock.h"
#include "support/error.h"
#include "support/sha256.h"
#include "support/text.h"

namespace oasis {
namespace {

constexpr auto kFlushInterval = std::chrono::seconds(2);
// Other writers hold the database for milliseconds; whoever holds it longer is not one of ours.
constexpr auto kPatience = std::chrono::seconds(20);
constexpr auto kBusyPoll = std::chrono::milliseconds(500);

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

// Settings beside bits and points that a quantized figure depends on, where they are not the
// published ones.
std::string quantizer_label(const QuantizationSpec& q) {
  const QuantizationSpec published;
  auto parts = quantizer_differences(q.weight_range, q.weight_grain, q.activation_range);
  if (q.calibration_batches != published.calibration_batches ||
      q.calibration_batch_size != published.calibration_batch_size) {
    parts.push_back(
        fmt::format("calibration {}x{}", q.calibration_batches, q.calibration_batch_size));
  }
  if (q.momentum != published.momentum) parts.push_back(fmt::format("momentum {}", q.momentum));
  if (q.percentile != published.percentile) {
    parts.push_back(fmt::format("percentile {}", q.percentile));
  }
  if (q.seed != published.seed) parts.push_back(fmt::format("seed {}", q.seed));
  return join(parts, ", ");
}

}  // namespace

struct Engine::PlannedCell {
  const Cell* cell = nullptr;
  std::vector<std::int64_t> stage_ids;  // of cell->stages
  bool said_busy = false;
};

// `stage_id` empty: work is done again whose results are in the database; nothing is recorded.
class Engine::Context : public StageContext {
 public:
  Context(Engine& engine, const PlannedCell& planned, const Stage& stage,
          std::optional<std::int64_t> stage_id)
      : engine_(engine), planned_(planned), stage_(stage), stage_id_(stage_id) {}

  std::filesystem::path folder() const override {
    return engine_.folder_ / "cells" / planned_.cell->folder;
  }

  std::filesystem::path parent_checkpoint() const override { return parent_checkpoint_; }
  void set_parent_checkpoint(std::filesystem::path path) { parent_checkpoint_ = std::move(path); }

  bool stop_requested() const override { return engine_.stop_.requested(); }

  void begins_at(std::int64_t step) override {
    if (!stage_id_) return;
    engine_.store_.truncate_curve(*stage_id_, step);
    if (step > 0) event(step, "resumed", fmt::format("from the checkpoint at step {}", step));
  }

  void record(const CurvePoint& point) override {
    points_.push_back(point);
    flush_now_and_then();
  }

  void record(GenerationRow text) override {
    texts_.push_back(std::move(text));
    flush_now_and_then();
  }

  std::vector<GenerationRow> generations() const override {
    return stage_id_ ? engine_.store_.generations(*stage_id_) : std::vector<GenerationRow>{};
  }

  void flush() override {
    if (stage_id_ && !points_.empty()) engine_.store_.add_curve_points(*stage_id_, points_);
    if (stage_id_ && !texts_.empty()) engine_.store_.add_generations(*stage_id_, texts_);
    points_.clear();
    texts_.clear();
    flushed_ = std::chrono::steady_clock::now();
  }

  void event(std::optional<std::int64_t> step, const std::string& kind,
             const std::string& message) override {
    if (stage_id_) engine_.store_.add_event(*stage_id_, step, kind, message);
    engine_.progress_.message(
        fmt::format("{}: {}: {}", planned_.cell->name, stage_.description(), message));
  }

  void begin_progress(double done, double total, const std::string& unit) override {
    engine_.progress_.begin(fmt::format("{}: {}", planned_.cell->name, stage_.description()), done,
                            total, unit);
  }
  void progress(double done, const std::string& detail) override {
    engine_.progress_.update(done, detail);
  }

 private:
  void flush_now_and_then() {
    if (std::chrono::steady_clock::now() - flushed_ >= kFlushInterval) flush();
  }

  Engine& engine_;
  const PlannedCell& planned_;
  const Stage& stage_;
  std::optional<std::int64_t> stage_id_;
  std::filesystem::path parent_checkpoint_;
  std::vector<CurvePoint> points_;
  std::vector<GenerationRow> texts_;
  std::chrono::steady_clock::time_point flushed_ = std::chrono::steady_clock::now();
};

Engine::Engine(const Plan& plan, Store& store, const std::filesystem::path& folder,
               StageRunner& runner, const StopSource& stop, ProgressLine& progress)
    : plan_(plan),
      store_(store),
      folder_(folder),
      runner_(runner),
      stop_(stop),
      progress_(progress) {}

RunSummary Engine::run(const std::vector<Cell>& selected, std::int64_t run_id) {
  run_id_ = run_id;
  summary_ = {};
  const std::int64_t suite_id =
      store_.add_suite(plan_.suite.name, suite_to_json(plan_.suite).dump());
  std::map<std::string, PlannedCell> planned;
  for (const Cell& cell : plan_.cells) {
    const std::int64_t cell_id =
        store_.add_cell({suite_id, cell.method.method, cell.method.label, cell.dataset.name,
                         cell.model.name, cell.seed, cell_config(plan_, cell).dump()});
    PlannedCell& entry = planned[cell.name];
    for (const Stage& stage : cell.stages) {
      entry.stage_ids.push_back(store_.plan_stage(cell_id, stage_row(stage)).id);
    }
  }
  std::vector<PlannedCell> open;
  for (const Cell& cell : selected) {
    PlannedCell entry = planned.at(cell.name);
    entry.cell = &cell;
    open.push_back(std::move(entry));
  }
  while (!open.empty()) {
    std::vector<PlannedCell> busy;
    for (PlannedCell& cell : open) {
      const CellState state = run_cell(cell);
      if (state == CellState::kBusy) busy.push_back(cell);
      if (state == CellState::kStopped) {
        summary_.stopped = true;
        return summary_;
      }
    }
    if (busy.size() == open.size()) {
      for (PlannedCell& cell : busy) {
        if (std::exchange(cell.said_busy, true)) continue;
        progress_.message(fmt::format("{}: waiting for {}", cell.cell->name,
                                      CellLock::holder(folder_ / "cells" / cell.cell->folder)));
      }
      std::this_thread::sleep_for(kBusyPoll);
      if (stop_.requested()) {
        summary_.stopped = true;
        return summary_;
      }
    }
    open = std::move(busy);
  }
  return summary_;
}

Engine::CellState Engine::run_cell(PlannedCell& planned) {
  const Cell& cell = *planned.cell;
  std::vector<std::size_t> missing;
  for (std::size_t i = 0; i < cell.stages.size(); ++i) {
    const auto row = store_.find_stage(cell.stages[i].key);
    if (!row || row->state != StageState::kDone) missing.push_back(i);
  }
  // A cell that was waited for has been counted by the process that ran it.
  if (!planned.said_busy) {
    summary_.stages_known += static_cast<int>(cell.stages.size() - missing.size());
  }
  if (missing.empty()) return CellState::kFinished;

  const auto lock = CellLock::try_take(folder_ / "cells" / cell.folder);
  if (!lock) return CellState::kBusy;
  for (const std::size_t index : missing) {
    if (stop_.requested()) return CellState::kStopped;
    const std::size_t failures = summary_.failures.size();
    const CellState state = run_stage(planned, index);
    if (state != CellState::kFinished) return state;
    if (summary_.failures.size() > failures) break;  // the rest of this cell builds on it
  }
  return CellState::kFinished;
}

Engine::CellState Engine::run_stage(PlannedCell& planned, std::size_t index) {
  const Stage& stage = planned.cell->stages[index];
  const std::int64_t stage_id = planned.stage_ids[index];
  Context context(*this, planned, stage, stage_id);
  if (!store_.begin_stage(stage_id, run_id_, runner_.device_name(),
                          stage.trains() ? plan_.device.dtype : "float32")) {
    const auto row = store_.find_stage(stage.key);
    return row && row->state == StageState::kDone ? CellState::kFinished : CellState::kBusy;
  }
  StageOutcome outcome;
  try {
    const bool builds = stage.kind != StageKind::kPretrain;
    if (builds) context.set_parent_checkpoint(checkpoint_of(planned, stage.parent_key));
    if (builds && context.parent_checkpoint().empty()) {
      outcome.kind = StageOutcome::Kind::kStopped;
    } else {
      outcome = runner_.run(plan_, *planned.cell, stage, context);
    }
    context.flush();
  } catch (const Error& error) {
    if (error.kind() != Error::Kind::kFailed) {
      abandon(stage_id);
      throw;
    }
    outcome = {.kind = StageOutcome::Kind::kFailed, .reason = error.what()};
  } catch (const std::exception& error) {
    outcome = {.kind = StageOutcome::Kind::kFailed, .reason = first_line(error.what())};
  }
  progress_.end();
  const bool stopped = outcome.kind == StageOutcome::Kind::kStopped;
  settle(planned, stage, stage_id, std::move(outcome));
  return stopped ? CellState::kStopped : CellState::kFinished;
}

// Before an error ends the run. On a full disk this fails too, which adds nothing to the error: the
// next run finds the stage unfinished either way.
void Engine::abandon(std::int64_t stage_id) {
  try {
    store_.stop_stage(stage_id);
  } catch (const Error&) {
  }
}

void Engine::settle(PlannedCell& planned, const Stage& stage, std::int64_t stage_id,
                    StageOutcome outcome) {
  std::optional<Artifact> checkpoint;
  if (outcome.checkpoint) checkpoint = relative(*outcome.checkpoint);
  switch (outcome.kind) {
    case StageOutcome::Kind::kDone:
      if (outcome.result.artifact) outcome.result.artifact = relative(*outcome.result.artifact);
      store_.finish_stage(stage_id, outcome.result);
      ++summary_.stages_run;
      break;
    case StageOutcome::Kind::kStopped:
      store_.stop_stage(stage_id, outcome.step, checkpoint);
      break;
    case StageOutcome::Kind::kFailed: {
      const std::string last = checkpoint ? fmt::format("; last good checkpoint: {}",
                                                        (folder_ / checkpoint->path).string())
                                          : "";
      fail(planned, stage, outcome.reason + last);
      store_.fail_stage(stage_id, outcome.reason, outcome.step, checkpoint);
      break;
    }
  }
}

// The weights of the training with this key, that another stage builds on. When the database knows
// it as done but the files are gone, it is run again: it gives the same weights. Empty when asked
// to stop on the way.
std::filesystem::path Engine::checkpoint_of(const PlannedCell& planned, const std::string& key) {
  const Stage& training = planned.cell->stage(key);
  const auto row = store_.find_stage(key);
  if (!row || row->state != StageState::kDone || row->artifact_path.empty()) {
    throw failed("{}: {}: the checkpoint is not recorded", planned.cell->name,
                 training.description());
  }
  const std::filesystem::path path = folder_ / row->artifact_path;
  std::error_code ignored;
  if (std::filesystem::exists(path, ignored)) {
    check_weights(path, row->artifact_sha256);
    return path;
  }
  progress_.message(fmt::format("{}: {} is gone; training again to evaluate it", planned.cell->name,
                                path.string()));
  Context context(*this, planned, training, std::nullopt);
  if (!training.parent_key.empty()) {
    context.set_parent_checkpoint(checkpoint_of(planned, training.parent_key));
    if (context.parent_checkpoint().empty()) return {};
  }
  const StageOutcome outcome = runner_.run(plan_, *planned.cell, training, context);
  progress_.end();
  if (outcome.kind == StageOutcome::Kind::kStopped) return {};
  if (outcome.kind == StageOutcome::Kind::kFailed || !outcome.result.artifact) {
    throw failed("{}: training again failed: {}", planned.cell->name, outcome.reason);
  }
  return outcome.result.artifact->path;
}

void Engine::check_weights(const std::filesystem::path& path, const std::string& sha256) {
  const FileState state = {std::filesystem::file_size(path),
                           std::filesystem::last_write_time(path)};
  const auto known = checked_.find(path);
  if (known != checked_.end() && known->second == state) return;
  if (sha256_file(path) != sha256) {
    throw bad_input(
        "{}: damaged: its SHA-256 is not the one that the database has; delete the "
        "file to train that cell again",
        path.string());
  }
  checked_[path] = state;
}

Artifact Engine::relative(Artifact artifact) const {
  artifact.path = std::filesystem::path(artifact.path).lexically_relative(folder_).generic_string();
  return artifact;
}

void Engine::fail(const PlannedCell& planned, const Stage& stage, const std::string& reason) {
  progress_.message(
      fmt::format("{}: {} failed: {}", planned.cell->name, stage.description(), reason));
  summary_.failures.push_back({planned.cell->name, stage.description(), reason});
}

StageSpec stage_row(const Stage& stage) {
  StageSpec row;
  row.key = stage.key;
  row.kind = stage_kind_name(stage.kind);
  row.parent_key = stage.parent_key;
  row.config_json = stage.config.dump();
  if (!stage.trains()) row.evaluated_on = stage.dataset;
  row.shots = stage.shots;
  if (stage.quantization) {
    row.weight_bits = static_cast<int>(stage.quantization->weight_bits);
    row.activation_bits = static_cast<int>(stage.quantization->activation_bits);
    row.points = stage.quantization->points;
    row.quantizer = quantizer_label(*stage.quantization);
  }
  return row;
}

Json cell_config(const Plan& plan, const Cell& cell) {
  return {{"model", cell.model_config},
          {"method", to_json_object(cell.method)},
          {"dataset", to_json_object(static_cast<const DatasetSpec&>(cell.dataset))},
          {"tokenizer", to_json_object(cell.dataset.tokenizer)},
          {"training", to_json_object(training_of(plan.suite, cell.method))},
          {"evaluation", to_json_object(plan.suite.evaluation)},
          {"device", plan.device.type},
          {"dtype", plan.device.dtype},
          {"seed", cell.seed}};
}

std::filesystem::path database_of(const std::filesystem::path& folder) {
  return folder / "results.db";
}

Store open_run_folder(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) {
    throw bad_input("{}: cannot be made: {}; choose a writable folder with --out", folder.string(),
                    error.message());
  }
  return Store::open(database_of(folder), Store::Mode::kCreate, {kPatience});
}

}  // namespace oasis
