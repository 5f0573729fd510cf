// RoPE frequencies that were changed for long contexts, in Hugging Face's `rope_scaling` keys:
// Llama 3.1's and 3.2's (`llama3`) and LongRoPE as Phi-3 and Phi-4-mini have it (`longrope`, also
// called `su`; Ding et al., arXiv 2402.13753). Both change short sequences too.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace oasis {

struct RopeScaling {
  enum class Kind { kNone, kLlama3, kLongRope };

  Kind kind = Kind::kNone;
  int64_t original_max_position_embeddings = 0;
  // llama3: wavelengths above original/low are stretched by `factor`, those below original/high
  // stay, and between the two the frequency is interpolated.
  double factor = 1.0, low_freq_factor = 1.0, high_freq_factor = 4.0;
  // longrope: divisors of the frequencies [rotary_dim/2], for sequences up to the original length
  // and for longer ones.
  std::vector<double> short_factor, long_factor;
  double attention_factor = 1.0;  // multiplies cosines and sines

  // What frequency theta^(−2i/rotary_dim), i < rotary_dim/2, is divided by in a sequence of
  // `length` tokens; empty where nothing changes.
  std::vector<double> divisors(double theta, int64_t rotary_dim, int64_t length) const;

  // Throws Error (bad input) naming the key.
  void validate(int64_t rotary_dim, const std::string& where) const;
};

// Reads `scaling` (config.json's rope_scaling, or rope_parameters since transformers 5) of the
// configuration `config`, whose max_position_embeddings is `max_length`. Throws Error (bad input)
// for kinds that are not known: they would change the function.
RopeScaling parse_rope_scaling(const nlohmann::json& scaling, const nlohmann::json& config,
                               int64_t max_length, const std::string& where);

// Adds rope_scaling, and what belongs to it, to a configuration; nothing for kNone.
void add_rope_scaling(const RopeScaling& scaling, int64_t max_length, nlohmann::json& config);

}  // namespace oasis
