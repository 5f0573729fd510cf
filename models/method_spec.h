// What makes one method differ from another: a declaration over the one decoder.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/normalizer/normalizer.h"

namespace oasis {

enum class Routing {
  kNone,         // the plain residual sum
  kProjected,    // routers with query and key projections
  kPseudoQuery,  // one learned query per router, normalised keys (the original form)
  kBlock,        // pseudo-query routers over block_count runs of sublayer outputs
};

enum class Recency {
  kNormalized,  // b·i/n, as published
  kAbsolute,    // b·(i − n + 1): steps that do not shrink with depth
};

struct Coupling {
  enum class Kind { kNone, kLearned, kFixed };
  Kind kind = Kind::kNone;
  double beta = 0.0;  // kFixed only
};

struct MethodSpec {
  std::string method = "prenorm";  // its name in the registry
  NormalizerSpec token;
  bool gate = false;                    // head output × σ(gate), a linear map of the head's slice
  std::optional<NormalizerSpec> depth;  // none exactly when routing is kNone
  Routing routing = Routing::kNone;
  Coupling coupling;
  int64_t block_count = 0;  // kBlock only; divides 2 × layers
  int64_t router_size = 0;  // A; kProjected only
  Recency recency = Recency::kNormalized;

  bool has_learned_beta() const { return coupling.kind == Coupling::Kind::kLearned; }
  bool needs_clip_constants() const {
    return token.kind == Normalizer::kClippedSoftmax ||
           (depth && depth->kind == Normalizer::kClippedSoftmax);
  }
};

std::string_view routing_name(Routing routing);
std::string_view recency_name(Recency recency);
const std::vector<std::string>& routing_names();
const std::vector<std::string>& recency_names();

// Throw Error (bad input) with the nearest name.
Routing parse_routing(std::string_view name);
Recency parse_recency(std::string_view name);

}  // namespace oasis
