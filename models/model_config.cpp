#include "models/model_config.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "models/config_reader.h"

namespace oasis {
namespace {

using nlohmann::json;

constexpr const char* kArchitectures[][2] = {
    {"llama", "LlamaForCausalLM"}, {"qwen3", "Qwen3ForCausalLM"}, {"phi3", "Phi3ForCausalLM"}};

const char* architecture_of(const std::string& model_type, const std::string& where) {
  for (const auto& [type, architecture] : kArchitectures) {
    if (model_type == type) return architecture;
  }
  throw bad_input("{}: model_type '{}' is not supported (known: llama, qwen3, phi3)", where,
                  model_type);
}

void refuse_unsupported(const ConfigReader& read) {
  const auto refuse_unless = [&](const char* key, const json& served, const char* what) {
    if (read.has(key) && read.object.at(key) != served) {
      throw bad_input("{}: {} {} is not supported; {}", read.where, key, read.object.at(key).dump(),
                      what);
    }
  };
  refuse_unless("hidden_act", "silu", "the MLP is SwiGLU ('silu')");
  refuse_unless("use_sliding_window", false, "attention is full and causal");
}

// rope_scaling and partial_rotary_factor stand in config.json, or since transformers 5, with theta,
// in its object rope_parameters.
void read_rope(const json& object, ModelConfig& config, const std::string& where) {
  const auto read_from = [&](const json& source, const std::string& place) {
    const ConfigReader read{source, place};
    read.number("rope_theta", config.rope_theta);
    read.number("partial_rotary_factor", config.partial_rotary_factor);
  };
  const auto read_scaling = [&](const char* key) {
    config.rope_scaling = parse_rope_scaling(object.at(key), object, config.max_position_embeddings,
                                             fmt::format("{}: {}", where, key));
  };
  const ConfigReader read{object, where};
  read_from(object, where);
  if (read.has("rope_scaling")) read_scaling("rope_scaling");
  if (read.has("rope_parameters")) {
    read_scaling("rope_parameters");
    read_from(object.at("rope_parameters"), where + ": rope_parameters");
  }
}

}  // namespace

ModelConfig parse_model_config(const json& object, const std::string& where) {
  if (!object.is_object()) throw bad_input("{}: must be a JSON object", where);
  const ConfigReader read{object, where};
  ModelConfig config;
  read.text("model_type", config.model_type);
  architecture_of(config.model_type, where);  // known
  config.qk_norm = config.model_type == "qwen3";
  config.fused_projections = config.model_type == "phi3";
  refuse_unsupported(read);
  read.integer("vocab_size", config.vocab_size, true);
  read.integer("hidden_size", config.hidden_size, true);
  read.integer("num_hidden_layers", config.num_hidden_layers, true);
  read.integer("num_attention_heads", config.num_attention_heads, true);
  config.num_key_value_heads = config.num_attention_heads;
  read.integer("num_key_value_heads", config.num_key_value_heads);
  read.integer("intermediate_size", config.intermediate_size, true);
  read.integer("max_position_embeddings", config.max_position_embeddings);
  read.number("rms_norm_eps", config.rms_norm_eps);
  read_rope(object, config, where);
  if (config.model_type == "phi3") {
    read.integer("sliding_window", config.sliding_window);
  } else if (config.partial_rotary_factor != 1.0) {
    throw bad_input("{}: partial_rotary_factor = {} is supported for model_type 'phi3' only", where,
                    config.partial_rotary_factor);
  }
  read.boolean("tie_word_embeddings", config.tie_word_embeddings);
  read.boolean("attention_bias", config.attention_bias);
  read.boolean("mlp_bias", config.mlp_bias);
  read.token("bos_token_id", config.bos_token_id);
  read.token("eos_token_id", config.eos_token_id);
  if (read.has("head_dim")) {
    read.integer("head_dim", config.head_dim);
  } else if (config.num_attention_heads > 0) {
    if (config.hidden_size % config.num_attention_heads != 0) {
      throw bad_input(
          "{}: num_attention_heads = {} does not divide hidden_size = {}; choose a divisor or give "
          "head_dim",
          where, config.num_attention_heads, config.hidden_size);
    }
    config.head_dim = config.hidden_size / config.num_attention_heads;
  }
  return config;
}

int64_t ModelConfig::rotary_dim() const {
  return static_cast<int64_t>(static_cast<double>(head_dim) * partial_rotary_factor);
}

void ModelConfig::validate(const std::string& where) const {
  const auto positive = [&](const char* key, int64_t value) {
    constexpr int64_t kLargest = int64_t{1} << 24;  // bounds every product of two below 2^63
    if (value < 1 || value > kLargest) {
      throw bad_input("{}: {} = {} must lie in [1, {}]", where, key, value, kLargest);
    }
  };
  positive("vocab_size", vocab_size);
  positive("hidden_size", hidden_size);
  positive("num_hidden_layers", num_hidden_layers);
  positive("num_attention_heads", num_attention_heads);
  positive("num_key_value_heads", num_key_value_heads);
  positive("head_dim", head_dim);
  positive("num_attention_heads × head_dim", num_attention_heads * head_dim);
  positive("intermediate_size", intermediate_size);
  if (num_attention_heads % num_key_value_heads != 0) {
    throw bad_input("{}: num_key_value_heads = {} does not divide num_attention_heads = {}", where,
                    num_key_value_heads, num_attention_heads);
  }
  if (!(partial_rotary_factor > 0 && partial_rotary_factor <= 1)) {
    throw bad_input("{}: partial_rotary_factor = {} must lie in (0, 1]", where,
                    partial_rotary_factor);
  }
  if (const int64_t rotated = rotary_dim(); rotated < 2 || rotated % 2 != 0) {
    throw bad_input(
        "{}: rotary embeddings turn {} dimensions (head_dim = {}, partial_rotary_factor = {}); the "
        "number must be even and positive",
        where, rotated, head_dim, partial_rotary_factor);
  }
  if (sliding_window < 0) {
    throw bad_input("{}: sliding_window = {} must not be negative", where, sliding_window);
  }
  if (!(rms_norm_eps > 0) || !std::isfinite(rms_norm_eps)) {
    throw bad_input("{}: rms_norm_eps = {} must be positive", where, rms_norm_eps);
  }
  if (!(rope_theta > 0) || !std::isfinite(rope_theta)) {
    throw bad_input("{}: rope_theta = {} must be positive", where, rope_theta);
  }
  rope_scaling.validate(rotary_dim(), where + ": rope_scaling");
  if (method.gate && hidden_size % num_attention_heads != 0) {
    throw bad_input(
        "{}: the head gate needs hidden_size = {} divisible by num_attention_heads = {}", where,
        hidden_size, num_attention_heads);
  }
  const bool routed = method.routing != Routing::kNone;
  if (routed != method.depth.has_value()) {
    throw bad_input("{}: routing '{}' contradicts depth_normalizer '{}'", where,
                    routing_name(method.routing),
                    method.depth ? normalizer_name(method.depth->kind) : "none");
  }
  if (!routed && method.coupling.kind != Coupling::Kind::kNone) {
    throw bad_input("{}: coupling needs depth routing, but routing is 'none'", where);
  }
  if (method.routing == Routing::kProjected) positive("router_size", method.router_size);
  if (method.routing == Routing::kBlock &&
      (method.block_count < 1 || (2 * num_hidden_layers) % method.block_count != 0)) {
    throw bad_input("{}: block_count = {} must divide 2 × num_hidden_layers = {}", where,
                    method.block_count, 2 * num_hidden_layers);
  }
}

json model_config_json(const ModelConfig& config) {
  json object = {
      {"architectures", {architecture_of(config.model_type, "config")}},
      {"model_type", config.model_type},
      {"vocab_size", config.vocab_size},
      {"hidden_size", config.hidden_size},
      {"num_hidden_layers", config.num_hidden_layers},
      {"num_attention_heads", config.num_attention_heads},
      {"num_key_value_heads", config.num_key_value_heads},
      {"head_dim", config.head_dim},
      {"intermediate_size", config.intermediate_size},
      {"max_position_embeddings", config.max_position_embeddings},
      {"rms_norm_eps", config.rms_norm_eps},
      {"rope_theta", config.rope_theta},
      {"tie_word_embeddings", config.tie_word_embeddings},
      {"attention_bias", config.attention_bias},
      {"mlp_bias", config.mlp_bias},
      {"hidden_act", "silu"},
      {"torch_dtype", "float32"},
  };
  add_rope_scaling(config.rope_scaling, config.max_position_embeddings, object);
  if (config.model_type == "phi3") {
    object["partial_rotary_factor"] = config.partial_rotary_factor;
    if (config.sliding_window > 0) object["sliding_window"] = config.sliding_window;
    object["pad_token_id"] = nullptr;  // transformers' default may lie outside the vocabulary
  }
  if (config.bos_token_id >= 0) object["bos_token_id"] = config.bos_token_id;
  if (config.eos_token_id >= 0) object["eos_token_id"] = config.eos_token_id;
  return object;
}

}  // namespace oasis
