// How long a plan will take, from a few timed steps of the real models.
#pragma once

#include <map>
#include <string>

#include "suites/plan.h"
#include "suites/suite_data.h"
#include "support/progress_line.h"

namespace oasis {

struct CellTiming {
  double training_s = 0;    // fine-tuning included
  double evaluation_s = 0;  // full precision and quantized, calibration included
  double generation_s = 0;  // of GSM8K's answers, were each as long as allowed: at most
};

// By cell name. Cells that differ by seed alone are measured once. Takes seconds per method.
std::map<std::string, CellTiming> time_cells(const Plan& plan, const std::vector<Cell>& cells,
                                             const OpenedSuiteData& data, ProgressLine& progress);

}  // namespace oasis
