#include "models/initialization.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <string_view>

#include "support/error.h"
#include "support/sha256.h"

namespace oasis {
namespace {

constexpr double kRouterScale = 0.02;  // over √A

at::Generator generator_for(uint64_t seed, const std::string& name) {
  const auto digest = sha256_hex(fmt::format("{}:{}", seed, name));
  return at::make_generator<at::CPUGeneratorImpl>(std::stoull(digest.substr(0, 16), nullptr, 16));
}

}  // namespace

RouterQueryInit parse_router_query_init(std::string_view name) {
  if (name == "normal") return RouterQueryInit::kNormal;
  if (name == "zero") return RouterQueryInit::kZero;
  throw bad_input("unknown router_query_init '{}' (known: normal, zero)", name);
}

void initialize(Decoder& model, const InitializationOptions& options, uint64_t seed) {
  if (!(options.gate_init > 0 && options.gate_init < 1)) {
    throw bad_input("gate_init = {} must lie between 0 and 1", options.gate_init);
  }
  const at::NoGradGuard no_grad;
  for (const auto& [name, parameter] : model.parameters()) {
    const auto ends_with = [&](std::string_view suffix) {
      return std::string_view(name).ends_with(suffix);
    };
    const bool router = name.find(".attn_res_") != std::string::npos ||
                        name.find(".final_res.") != std::string::npos;
    const auto normal = [&](double deviation) {
      parameter.normal_(0.0, deviation, generator_for(seed, name));
    };
    if (ends_with(".recency_bias")) {
      parameter.fill_(options.recency_bias);
    } else if (ends_with(".oasis_beta_raw")) {
      parameter.fill_(options.beta_raw);
    } else if (ends_with(".query")) {
      parameter.zero_();
    } else if (ends_with("norm.weight")) {
      parameter.fill_(1.0);
    } else if (ends_with(".self_attn.gate.weight")) {
      parameter.zero_();
    } else if (ends_with(".self_attn.gate.bias")) {
      parameter.fill_(std::log(options.gate_init / (1.0 - options.gate_init)));
    } else if (ends_with(".bias")) {
      parameter.zero_();
    } else if (router) {
      if (ends_with(".q_proj.weight") && options.router_query_init == RouterQueryInit::kZero) {
        parameter.zero_();
      } else {
        normal(kRouterScale / std::sqrt(static_cast<double>(parameter.size(0))));
      }
    } else {
      normal(options.initializer_range);
    }
  }
}

}  // namespace oasis
