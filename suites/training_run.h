// Trainings of a cell with the real models: pretraining on blocks of text, and fine-tuning on the
// answers to GSM8K's problems.
#pragma once

#include "suites/stage_runner.h"
#include "suites/suite_data.h"

namespace oasis {

// Both go on from the cell's last checkpoint of that stage if there is one, and write the trained
// model as a Hugging Face folder below context.folder().
StageOutcome run_pretraining(const Plan& plan, const Cell& cell, const Stage& stage,
                             const OpenedSuiteData::ForTraining& data, StageContext& context);
StageOutcome run_fine_tuning(const Plan& plan, const Cell& cell, const Stage& stage,
                             const OpenedSuiteData::ForTraining& data,
                             const std::vector<gsm8k::Problem>& problems, StageContext& context);

}  // namespace oasis
