// What `oasis evaluate` says of massive activations and of what quantizing each site costs.
#pragma once

#include <nlohmann/json.hpp>

#include "datasets/tokenizer.h"
#include "models/evaluation.h"
#include "models/site_costs.h"

namespace oasis {

// {"places": all of them, "rows": [{token, text, position, channel, layers: [first, last], largest,
// largest_layer, n}, …]}, the largest first. `tokenizer` may be null: no "text" then.
nlohmann::ordered_json massive_json(const EvaluationResult& result, const Tokenizer* tokenizer);

// Layers, channels and positions in short, then the largest places; nothing where there are none.
void print_massive(const EvaluationResult& result, const Tokenizer* tokenizer);

// {"perplexity": with nothing quantized, "n": pairs, "sites": [{site, perplexity}, …]}, the
// costliest first; a perplexity that is not finite is null.
nlohmann::ordered_json site_costs_json(const SiteCosts& costs);

void print_site_costs(const SiteCosts& costs);  // the costliest

}  // namespace oasis
