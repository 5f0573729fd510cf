#include "models/model_config.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "support/error.h"

namespace oasis {
namespace {

using nlohmann::json;

struct Reader {
  const json& object;
  const std::string& where;

  bool has(const char* key) const { return object.contains(key) && !object.at(key).is_null(); }

  void integer(const char* key, int64_t& value, bool required) const {
    if (!has(key)) {
      if (required) throw bad_input("{}: '{}' is missing; add the integer", where, key);
      return;
    }
    const auto& field = object.at(key);
    if (!field.is_number_integer()) {
      throw bad_input("{}: '{}' must be an integer, not {}", where, key, field.dump());
    }
    value = field.get<int64_t>();
  }

  void number(const char* key, double& value) const {
    if (!has(key)) return;
    const auto& field = object.at(key);
    if (!field.is_number()) {
      throw bad_input("{}: '{}' must be a number, not {}", where, key, field.dump());
    }
    value = field.get<double>();
  }

  void boolean(const char* key, bool& value) const {
    if (!has(key)) return;
    const auto& field = object.at(key);
    if (!field.is_boolean()) {
      throw bad_input("{}: '{}' must be true or false, not {}", where, key, field.dump());
    }
    value = field.get<bool>();
  }

  // Token ids may be lists (several end-of-text tokens); the first is kept.
  void token(const char* key, int64_t& value) const {
    if (!has(key)) return;
    const auto& field = object.at(key);
    const auto& first = field.is_array() && !field.empty() ? field.front() : field;
    if (!first.is_number_integer()) {
      throw bad_input("{}: '{}' must be a token id, not {}", where, key, field.dump());
    }
    value = first.get<int64_t>();
  }
};

void refuse_unsupported(const json& object, const std::string& where) {
  const auto set = [&](const char* key) {
    return object.contains(key) && !object.at(key).is_null();
  };
  if (set("rope_scaling")) {
    const auto& scaling = object.at("rope_scaling");
    const auto is_default = [&](const char* key) {
      return scaling.is_object() && scaling.contains(key) && scaling.at(key) == "default";
    };
    if (!is_default("rope_type") && !is_default("type")) {
      throw bad_input("{}: rope_scaling {} is not supported; only plain RoPE is", where,
                      scaling.dump());
    }
  }
  if (set("hidden_act") && object.at("hidden_act") != "silu") {
    throw bad_input("{}: hidden_act {} is not supported; the MLP is SwiGLU ('silu')", where,
                    object.at("hidden_act").dump());
  }
  if (set("use_sliding_window") && object.at("use_sliding_window") != false) {
    throw bad_input("{}: use_sliding_window {} is not supported; attention is full and causal",
                    where, object.at("use_sliding_window").dump());
  }
  if (set("partial_rotary_factor") && object.at("partial_rotary_factor") != 1.0) {
    throw bad_input("{}: partial_rotary_factor {} is not supported", where,
                    object.at("partial_rotary_factor").dump());
  }
}

}  // namespace

ModelConfig parse_model_config(const json& object, const std::string& where) {
  if (!object.is_object()) throw bad_input("{}: must be a JSON object", where);
  const Reader read{object, where};
  ModelConfig config;
  if (read.has("model_type")) {
    if (!object.at("model_type").is_string()) {
      throw bad_input("{}: 'model_type' must be a string, not {}", where,
                      object.at("model_type").dump());
    }
    config.model_type = object.at("model_type").get<std::string>();
  }
  if (config.model_type != "llama" && config.model_type != "qwen3") {
    throw bad_input("{}: model_type '{}' is not supported (known: llama, qwen3)", where,
                    config.model_type);
  }
  config.qk_norm = config.model_type == "qwen3";
  refuse_unsupported(object, where);
  read.integer("vocab_size", config.vocab_size, true);
  read.integer("hidden_size", config.hidden_size, true);
  read.integer("num_hidden_layers", config.num_hidden_layers, true);
  read.integer("num_attention_heads", config.num_attention_heads, true);
  config.num_key_value_heads = config.num_attention_heads;
  read.integer("num_key_value_heads", config.num_key_value_heads, false);
  read.integer("intermediate_size", config.intermediate_size, true);
  read.integer("max_position_embeddings", config.max_position_embeddings, false);
  read.number("rms_norm_eps", config.rms_norm_eps);
  read.number("rope_theta", config.rope_theta);
  if (read.has("rope_parameters") && object.at("rope_parameters").is_object()) {
    // transformers 5 moved theta into this object
    const auto& rope = object.at("rope_parameters");
    refuse_unsupported(json{{"rope_scaling", rope}}, where + ": rope_parameters");
    Reader{rope, where}.number("rope_theta", config.rope_theta);
  }
  read.boolean("tie_word_embeddings", config.tie_word_embeddings);
  read.boolean("attention_bias", config.attention_bias);
  read.boolean("mlp_bias", config.mlp_bias);
  read.token("bos_token_id", config.bos_token_id);
  read.token("eos_token_id", config.eos_token_id);
  if (read.has("head_dim")) {
    read.integer("head_dim", config.head_dim, false);
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
  positive("intermediate_size", intermediate_size);
  if (num_attention_heads % num_key_value_heads != 0) {
    throw bad_input("{}: num_key_value_heads = {} does not divide num_attention_heads = {}", where,
                    num_key_value_heads, num_attention_heads);
  }
  if (head_dim % 2 != 0) {
    throw bad_input("{}: head_dim = {} must be even for rotary embeddings", where, head_dim);
  }
  if (!(rms_norm_eps > 0) || !std::isfinite(rms_norm_eps)) {
    throw bad_input("{}: rms_norm_eps = {} must be positive", where, rms_norm_eps);
  }
  if (!(rope_theta > 0) || !std::isfinite(rope_theta)) {
    throw bad_input("{}: rope_theta = {} must be positive", where, rope_theta);
  }
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
      {"architectures", {config.model_type == "qwen3" ? "Qwen3ForCausalLM" : "LlamaForCausalLM"}},
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
  if (config.bos_token_id >= 0) object["bos_token_id"] = config.bos_token_id;
  if (config.eos_token_id >= 0) object["eos_token_id"] = config.eos_token_id;
  return object;
}

}  // namespace oasis
