#include "models/rope_scaling.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "models/config_reader.h"

namespace oasis {
namespace {

using nlohmann::json;

constexpr const char* kOriginalLength = "original_max_position_embeddings";

double stretch_of(int64_t max_length, int64_t original_length) {
  return static_cast<double>(max_length) / static_cast<double>(original_length);
}

// LongRoPE's published rule for a context that is `stretch` times as long.
double published_attention_factor(double stretch, int64_t original_length) {
  if (!(stretch > 1) || original_length < 2) return 1.0;
  return std::sqrt(1 + std::log(stretch) / std::log(static_cast<double>(original_length)));
}

double llama3_divisor(const RopeScaling& s, double frequency) {
  const auto original = static_cast<double>(s.original_max_position_embeddings);
  const double turns = original * frequency / (2 * std::numbers::pi);  // within the original length
  if (turns < s.low_freq_factor) return s.factor;
  if (turns > s.high_freq_factor) return 1.0;
  const double kept = (turns - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
  return 1.0 / (kept + (1 - kept) / s.factor);
}

}  // namespace

std::vector<double> RopeScaling::divisors(double theta, int64_t rotary_dim, int64_t length) const {
  switch (kind) {
    case Kind::kNone:
      return {};
    case Kind::kLongRope:
      return length > original_max_position_embeddings ? long_factor : short_factor;
    case Kind::kLlama3:
      break;
  }
  std::vector<double> result;
  for (int64_t i = 0; i < rotary_dim; i += 2) {
    const double exponent = -static_cast<double>(i) / static_cast<double>(rotary_dim);
    result.push_back(llama3_divisor(*this, std::pow(theta, exponent)));
  }
  return result;
}

void RopeScaling::validate(int64_t rotary_dim, const std::string& where) const {
  if (kind == Kind::kNone) return;
  const auto positive = [](double x) { return x > 0 && std::isfinite(x); };
  if (original_max_position_embeddings < 1) {
    throw bad_input("{}: {} = {} must be at least 1", where, kOriginalLength,
                    original_max_position_embeddings);
  }
  if (kind == Kind::kLlama3) {
    if (!positive(factor)) throw bad_input("{}: factor = {} must be positive", where, factor);
    if (!positive(low_freq_factor) || !(high_freq_factor > low_freq_factor) ||
        !std::isfinite(high_freq_factor)) {
      throw bad_input("{}: low_freq_factor = {} must be positive and below high_freq_factor = {}",
                      where, low_freq_factor, high_freq_factor);
    }
    return;
  }
  if (!positive(attention_factor)) {
    throw bad_input("{}: attention_factor = {} must be positive", where, attention_factor);
  }
  const auto factors = [&](const char* key, const std::vector<double>& list) {
    if (std::ssize(list) != rotary_dim / 2) {
      throw bad_input("{}: {} has {} numbers; half of the {} rotated dimensions are {}", where, key,
                      list.size(), rotary_dim, rotary_dim / 2);
    }
    if (!std::ranges::all_of(list, positive)) {
      throw bad_input("{}: {} must hold positive numbers", where, key);
    }
  };
  factors("short_factor", short_factor);
  factors("long_factor", long_factor);
}

RopeScaling parse_rope_scaling(const json& scaling, const json& config, int64_t max_length,
                               const std::string& where) {
  if (!scaling.is_object()) throw bad_input("{} must be an object, not {}", where, scaling.dump());
  const ConfigReader read{scaling, where};
  std::string kind = "default";
  read.text("type", kind);
  read.text("rope_type", kind);
  RopeScaling result;
  if (kind == "default") return result;
  if (kind == "llama3") {
    result.kind = RopeScaling::Kind::kLlama3;
    read.number("factor", result.factor, true);
    read.number("low_freq_factor", result.low_freq_factor, true);
    read.number("high_freq_factor", result.high_freq_factor, true);
    read.integer(kOriginalLength, result.original_max_position_embeddings, true);
    return result;
  }
  if (kind != "longrope" && kind != "su") {
    throw bad_input("{}: type '{}' is not supported (known: default, llama3, longrope)", where,
                    kind);
  }
  result.kind = RopeScaling::Kind::kLongRope;
  read.numbers("short_factor", result.short_factor);
  read.numbers("long_factor", result.long_factor);
  // Phi keeps the original length beside rope_scaling; transformers 5 moves it inside.
  const ConfigReader beside{config, where};
  (read.has(kOriginalLength) ? read : beside)
      .integer(kOriginalLength, result.original_max_position_embeddings, true);
  double stretch = stretch_of(max_length, result.original_max_position_embeddings);
  read.number("factor", stretch);
  result.attention_factor =
      published_attention_factor(stretch, result.original_max_position_embeddings);
  read.number("attention_factor", result.attention_factor);
  return result;
}

void add_rope_scaling(const RopeScaling& scaling, int64_t max_length, json& config) {
  switch (scaling.kind) {
    case RopeScaling::Kind::kNone:
      return;
    case RopeScaling::Kind::kLlama3:
      config["rope_scaling"] = {{"rope_type", "llama3"},
                                {"factor", scaling.factor},
                                {"low_freq_factor", scaling.low_freq_factor},
                                {"high_freq_factor", scaling.high_freq_factor},
                                {kOriginalLength, scaling.original_max_position_embeddings}};
      return;
    case RopeScaling::Kind::kLongRope:
      // transformers' Phi-3 accepts these three keys and no other
      config["rope_scaling"] = {{"type", "longrope"},
                                {"short_factor", scaling.short_factor},
                                {"long_factor", scaling.long_factor}};
      config[kOriginalLength] = scaling.original_max_position_embeddings;
      if (scaling.attention_factor !=
          published_attention_factor(
              stretch_of(max_length, scaling.original_max_position_embeddings),
              scaling.original_max_position_embeddings)) {
        config["rope_scaling"]["attention_factor"] = scaling.attention_factor;
      }
      return;
  }
}

}  // namespace oasis
