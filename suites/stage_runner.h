// What the engine asks of whoever trains and evaluates: one stage at a time.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "results/store.h"
#include "suites/plan.h"

namespace oasis {

// The engine's side of a running stage.
class StageContext {
 public:
  virtual ~StageContext() = default;

  // Where this cell's checkpoints go; exists.
  virtual std::filesystem::path folder() const = 0;
  // The weights, as the artifact of the training named them, that this stage builds on; empty for
  // a pretraining.
  virtual std::filesystem::path parent_checkpoint() const = 0;

  // Ask between steps; when true, write a checkpoint and return kStopped.
  virtual bool stop_requested() const = 0;

  // Training goes on from a checkpoint at `step` (0: from the start). Call once, before the first
  // point: what the database holds of later steps is dropped.
  virtual void begins_at(std::int64_t step) = 0;
  virtual void record(const CurvePoint& point) = 0;
  // A text is in the database soon, and stays there when the stage is stopped or killed: ask only
  // for those that generations() does not hold.
  virtual void record(GenerationRow text) = 0;
  virtual std::vector<GenerationRow> generations() const = 0;
  // What was recorded goes to the database. Call before writing a checkpoint, so that a checkpoint
  // at step s never stands without the curve up to s.
  virtual void flush() = 0;
  virtual void event(std::optional<std::int64_t> step, const std::string& kind,
                     const std::string& message) = 0;

  // `unit`: "tokens"; `detail`: "loss 4.21".
  virtual void begin_progress(double done, double total, const std::string& unit) = 0;
  virtual void progress(double done, const std::string& detail) = 0;
};

struct StageOutcome {
  enum class Kind {
    kDone,
    kStopped,  // as asked, with a checkpoint at `step`
    kFailed,   // this cell cannot go on: a NaN
  };
  Kind kind = Kind::kDone;
  StageResult result = {};                  // kDone; its artifact for a training
  std::optional<std::int64_t> step = {};    // kStopped: of the checkpoint; kFailed: that failed
  std::optional<Artifact> checkpoint = {};  // kStopped, kFailed: the last good one, if any
  std::string reason = {};                  // kFailed
};

class StageRunner {
 public:
  virtual ~StageRunner() = default;

  // Artifact paths in the outcome are as the context gave the folder. May throw: Error (bad input)
  // ends the run, for a damaged checkpoint; any other exception ends the cell.
  virtual StageOutcome run(const Plan& plan, const Cell& cell, const Stage& stage,
                           StageContext& context) = 0;

  // For the database: the GPU's name or "cpu".
  virtual std::string device_name() const = 0;
};

}  // namespace oasis
