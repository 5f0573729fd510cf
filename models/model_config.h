// A decoder's configuration, in Hugging Face's config.json keys.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "models/method_spec.h"
#include "models/rope_scaling.h"

namespace oasis {

struct ModelConfig {
  std::string model_type = "llama";  // "llama", "qwen3" (QK norm) or "phi3" (fused projections)
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;          // D
  int64_t num_hidden_layers = 0;    // L
  int64_t num_attention_heads = 0;  // H
  int64_t num_key_value_heads = 0;  // divides H
  int64_t head_dim = 0;             // d, even; D/H when left out
  int64_t intermediate_size = 0;
  int64_t max_position_embeddings = 2048;
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000.0;
  double partial_rotary_factor = 1.0;  // share of d that RoPE turns, below 1 in Phi-3 only
  RopeScaling rope_scaling;
  int64_t sliding_window = 0;  // Phi-3: the longest sequence that attention sees whole; 0: any
  bool tie_word_embeddings = false;
  bool attention_bias = false;  // on q, k, v and o
  bool mlp_bias = false;        // on gate, up and down
  bool qk_norm = false;         // RMSNorm per head on q and k before RoPE
  // Checkpoints store q, k, v stacked as qkv_proj, and gate, up as gate_up_proj.
  bool fused_projections = false;
  int64_t bos_token_id = -1;  // −1: none
  int64_t eos_token_id = -1;
  MethodSpec method;

  int64_t rotary_dim() const;  // how many dimensions of a head RoPE turns, the first ones

  // Throws Error (bad input) naming the field: ranges, heads that do not divide, contradictions
  // between method and routing, a block count that does not divide 2L. `where` opens the message.
  void validate(const std::string& where) const;
};

// Reads the Hugging Face keys (not the object "oasis"; see baselines/method_config.h). `where`
// opens the messages. Settings of other architectures that would change the function (other
// kinds of rope_scaling, other activations, sliding windows) are refused.
ModelConfig parse_model_config(const nlohmann::json& json, const std::string& where);

// The Hugging Face keys; the object "oasis" is added by baselines/method_config.h.
nlohmann::json model_config_json(const ModelConfig& config);

}  // namespace oasis
