// What models/ measured, as rows of the database.
#pragma once

#include "models/evaluation.h"
#include "models/quantization.h"
#include "results/store.h"

namespace oasis {

StageResult to_stage_result(const EvaluationResult& evaluation);

// The calibrated range of every activation quantizer: quantities "range_lo" and "range_hi".
std::vector<SiteStatistic> range_statistics(const QuantizedModel& model, std::int64_t sequences);

}  // namespace oasis
