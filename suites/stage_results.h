// What models/ measured, as rows of the database.
#pragma once

#include "datasets/tokenizer.h"
#include "models/evaluation.h"
#include "models/quantization.h"
#include "models/site_costs.h"
#include "results/store.h"

namespace oasis {

// `tokenizer` names the tokens of massive activations.
StageResult to_stage_result(const EvaluationResult& evaluation, const Tokenizer& tokenizer);

// What a token stands for, in valid UTF-8: controls and bytes that are no characters as "<0x0A>",
// the end of a text as "<end of text>", an id beyond the vocabulary as nothing.
std::string token_text(const Tokenizer& tokenizer, std::int64_t token);

// Quantities "perplexity_none" (no site) and "perplexity_alone" of every site.
std::vector<SiteStatistic> site_cost_statistics(const SiteCosts& costs);

// The calibrated range of every activation quantizer: quantities "range_lo" and "range_hi".
std::vector<SiteStatistic> range_statistics(const QuantizedModel& model, std::int64_t sequences);

}  // namespace oasis
