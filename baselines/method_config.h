// The object "oasis" of config.json: a method and what overrides it (DESIGN.md, Checkpoint layout).
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "models/model_config.h"

namespace oasis {

// Keys: method, routing, token_normalizer, depth_normalizer, coupling, gate, block_count,
// router_size, recency, clip_zeta, clip_gamma. What is left out takes the method's defaults;
// routing defaults to `projected` for a routed method, router_size to max(D/4, 64). A null object
// is a plain `prenorm`. Throws Error (bad input): unknown keys or names (with the nearest), wrong
// types, contradictions. `where` opens the messages.
MethodSpec resolve_method(const nlohmann::json& object, int64_t hidden_size,
                          const std::string& where);

// Every key that this method uses, defaults included: resolve_method gives the same spec back.
nlohmann::json method_json(const MethodSpec& spec);

// config.json as a whole: the Hugging Face keys and the object "oasis". The result is validated.
ModelConfig parse_checkpoint_config(const nlohmann::json& json, const std::string& where);
nlohmann::json checkpoint_config_json(const ModelConfig& config);

}  // namespace oasis
