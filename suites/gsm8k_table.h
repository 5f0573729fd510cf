// Pass@1 under every rule, as people and as machines read it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "datasets/gsm8k/pass_at_1.h"

namespace oasis {

std::string pass_at_1_table(const std::vector<gsm8k::PassAt1>& counts);

// {"name", "value", "unit", "n", "low", "high", "correct", "unanswered"}
nlohmann::ordered_json pass_at_1_json(const gsm8k::PassAt1& count);

}  // namespace oasis
