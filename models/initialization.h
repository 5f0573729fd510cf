// Fresh weights (DESIGN.md, section 2: how routers and gates start is a field each).
#pragma once

#include <cstdint>
#include <string_view>

#include "models/decoder.h"

namespace oasis {

enum class RouterQueryInit { kNormal, kZero };
RouterQueryInit parse_router_query_init(std::string_view name);  // normal, zero; Error (bad input)

struct InitializationOptions {
  double initializer_range = 0.02;  // standard deviation of embedding and linear weights
  double recency_bias = 0.0;        // b of the projected form; published: 0, and 8 for Phi-4
  RouterQueryInit router_query_init = RouterQueryInit::kNormal;  // W_q of the projected form
  double beta_raw = -5.0;                                        // β = min(softplus(β_raw), 10)
  double gate_init = 0.25;  // σ of the head gate's bias, in (0, 1); its weight starts at 0
};

// Sets every parameter of a CPU model. A parameter's values depend on the seed and on its own name
// and shape alone, so that methods under one seed share the backbone's weights.
// Router projections are normal with standard deviation 0.02/√A; pseudo-queries start at zero,
// norm gains at one, biases at zero.
void initialize(Decoder& model, const InitializationOptions& options, uint64_t seed);

}  // namespace oasis
