// The stages that GSM8K adds to a cell.
#pragma once

#include <string>

#include "suites/plan.h"

namespace oasis {

// After the cell's evaluations: answers of the pretrained model in full precision and quantized,
// the fine-tuning, and the answers of what it gives. Throws Error (bad input) when the model's
// positions do not suffice.
void add_gsm8k(Cell& cell, const Suite& suite, const SuiteData::ForTraining& data,
               const RunDevice& device, const std::string& source);

}  // namespace oasis
