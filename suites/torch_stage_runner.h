// Runs stages with the real models.
#pragma once

#include <memory>

#include "suites/stage_runner.h"
#include "suites/suite_data.h"

namespace oasis {

class TorchStageRunner : public StageRunner {
 public:
  // `data` outlives the runner.
  explicit TorchStageRunner(const OpenedSuiteData& data);
  ~TorchStageRunner() override;

  StageOutcome run(const Plan& plan, const Cell& cell, const Stage& stage,
                   StageContext& context) override;
  std::string device_name() const override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace oasis
