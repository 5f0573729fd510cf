// Runs the stages of a plan's cells, each once, and keeps the results.
//
// The run folder holds results.db and cells/<cell>/ with the checkpoints. Whatever ends the
// process, the next call goes on from the last checkpoint and ends with the same database contents
// (bit for bit on the CPU). Any number of processes may share a run folder: each takes one cell at
// a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "results/store.h"
#include "suites/plan.h"
#include "suites/stage_runner.h"
#include "suites/stop.h"
#include "support/progress_line.h"

namespace oasis {

struct CellFailure {
  std::string cell;
  std::string stage;
  std::string reason;
};

struct RunSummary {
  int stages_run = 0;
  int stages_known = 0;  // in the database already
  std::vector<CellFailure> failures;
  bool stopped = false;  // before all was done, as StopSource asked
};

class Engine {
 public:
  // `folder` exists and holds the store.
  Engine(const Plan& plan, Store& store, const std::filesystem::path& folder, StageRunner& runner,
         const StopSource& stop, ProgressLine& progress);

  // Plans every cell of the suite in the database, then runs the `selected` ones. Cells that
  // another process works on come last, and are waited for. Throws Error for bad input met on the
  // way and for a database that cannot be written.
  RunSummary run(const std::vector<Cell>& selected, std::int64_t run_id);

 private:
  struct PlannedCell;
  class Context;
  enum class CellState { kFinished, kBusy, kStopped };

  CellState run_cell(PlannedCell& cell);
  CellState run_stage(PlannedCell& cell, std::size_t index);
  void abandon(std::int64_t stage_id);
  void settle(PlannedCell& cell, const Stage& stage, std::int64_t stage_id, StageOutcome outcome);
  std::filesystem::path checkpoint_of(const PlannedCell& cell, const std::string& key);
  // Reads a file once, and again when it was written since: every stage of a cell asks.
  void check_weights(const std::filesystem::path& path, const std::string& sha256);
  Artifact relative(Artifact artifact) const;
  void fail(const PlannedCell& cell, const Stage& stage, const std::string& reason);

  const Plan& plan_;
  Store& store_;
  std::filesystem::path folder_;
  StageRunner& runner_;
  const StopSource& stop_;
  ProgressLine& progress_;
  std::int64_t run_id_ = 0;
  RunSummary summary_;
  using FileState = std::pair<std::uintmax_t, std::filesystem::file_time_type>;  // size, written
  std::map<std::filesystem::path, FileState> checked_;
};

// A run folder with its database, made when missing. Throws Error (bad input) when it cannot be
// written.
Store open_run_folder(const std::filesystem::path& folder);
std::filesystem::path database_of(const std::filesystem::path& folder);

// The row of a stage, and of a cell, for the database.
StageSpec stage_row(const Stage& stage);
Json cell_config(const Plan& plan, const Cell& cell);

}  // namespace oasis
