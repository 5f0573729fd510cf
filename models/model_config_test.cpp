#include "models/model_config.h"

#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "models/model_testing.h"

namespace oasis {
namespace {

using namespace testing_support;
using nlohmann::json;

json llama() {
  return {{"model_type", "llama"},      {"vocab_size", 100},        {"hidden_size", 48},
          {"num_hidden_layers", 3},     {"num_attention_heads", 6}, {"num_key_value_heads", 2},
          {"intermediate_size", 96},    {"rope_theta", 500000.0},   {"rms_norm_eps", 1e-5},
          {"tie_word_embeddings", true}};
}

std::string refusal_of(const std::string& key, const json& value) {
  auto object = llama();
  object[key] = value;
  return refusal([&] { parse_model_config(object, "config.json").validate("config.json"); });
}

TEST(ModelConfigTest, ReadsHuggingFaceKeys) {
  auto object = llama();
  object["bos_token_id"] = 1;
  object["eos_token_id"] = {7, 8};
  object["max_position_embeddings"] = 512;
  object["attention_bias"] = true;
  object["some_other_key"] = "ignored";
  const auto config = parse_model_config(object, "config.json");
  config.validate("config.json");
  EXPECT_EQ(config.vocab_size, 100);
  EXPECT_EQ(config.head_dim, 8);  // 48 / 6
  EXPECT_EQ(config.num_key_value_heads, 2);
  EXPECT_EQ(config.rope_theta, 500000.0);
  EXPECT_EQ(config.rms_norm_eps, 1e-5);
  EXPECT_EQ(config.max_position_embeddings, 512);
  EXPECT_TRUE(config.tie_word_embeddings);
  EXPECT_TRUE(config.attention_bias);
  EXPECT_FALSE(config.mlp_bias);
  EXPECT_FALSE(config.qk_norm);
  EXPECT_EQ(config.bos_token_id, 1);
  EXPECT_EQ(config.eos_token_id, 7);
}

TEST(ModelConfigTest, DefaultsOfWhatIsLeftOut) {
  auto object = llama();
  object.erase("num_key_value_heads");
  object.erase("tie_word_embeddings");
  object["head_dim"] = nullptr;
  object["rope_scaling"] = nullptr;
  object["use_sliding_window"] = nullptr;
  object["partial_rotary_factor"] = nullptr;
  const auto config = parse_model_config(object, "config.json");
  EXPECT_EQ(config.num_key_value_heads, 6);
  EXPECT_EQ(config.head_dim, 8);
  EXPECT_FALSE(config.tie_word_embeddings);
}

TEST(ModelConfigTest, Qwen3HasQkNormsAndItsOwnHeadSize) {
  auto object = llama();
  object["model_type"] = "qwen3";
  object["head_dim"] = 16;
  object["num_attention_heads"] = 5;  // divides nothing; head_dim says it all
  object["num_key_value_heads"] = 5;
  const auto config = parse_model_config(object, "config.json");
  config.validate("config.json");
  EXPECT_TRUE(config.qk_norm);
  EXPECT_EQ(config.head_dim, 16);
}

TEST(ModelConfigTest, ThetaOfTransformers5) {
  auto object = llama();
  object.erase("rope_theta");
  object["rope_parameters"] = {{"rope_theta", 12345.0}, {"rope_type", "default"}};
  EXPECT_EQ(parse_model_config(object, "config.json").rope_theta, 12345.0);
  object["rope_parameters"]["rope_type"] = "yarn";
  EXPECT_TRUE(says(refusal([&] { parse_model_config(object, "config.json"); }), "rope_parameters",
                   "not supported"));
}

TEST(ModelConfigTest, Phi3HasFusedProjectionsAndPartialRotation) {
  auto object = llama();
  object["model_type"] = "phi3";
  object["partial_rotary_factor"] = 0.75;
  object["sliding_window"] = 2047;
  object["num_attention_heads"] = 3;
  object["num_key_value_heads"] = 1;
  const auto config = parse_model_config(object, "config.json");
  config.validate("config.json");
  EXPECT_TRUE(config.fused_projections);
  EXPECT_FALSE(config.qk_norm);
  EXPECT_EQ(config.head_dim, 16);
  EXPECT_EQ(config.rotary_dim(), 12);
  EXPECT_EQ(config.sliding_window, 2047);
  const auto written = model_config_json(config);
  EXPECT_EQ(written.at("architectures"), json({"Phi3ForCausalLM"}));
  EXPECT_EQ(written.at("partial_rotary_factor"), 0.75);
  EXPECT_EQ(written.at("sliding_window"), 2047);
  EXPECT_TRUE(written.at("pad_token_id").is_null());

  // since transformers 5
  object.erase("partial_rotary_factor");
  object["rope_parameters"] = {{"rope_type", "default"}, {"partial_rotary_factor", 0.5}};
  EXPECT_EQ(parse_model_config(object, "config.json").rotary_dim(), 8);

  object.erase("rope_parameters");
  const auto refused = [&](const char* key, const json& value) {
    auto changed = object;
    changed[key] = value;
    return refusal([&] { parse_model_config(changed, "config.json").validate("config.json"); });
  };
  EXPECT_TRUE(says(refused("partial_rotary_factor", 0.7), "turn 11 dimensions", "must be even"));
  EXPECT_TRUE(says(refused("partial_rotary_factor", 0.01), "turn 0 dimensions"));
  EXPECT_TRUE(says(refused("partial_rotary_factor", 0.0), "partial_rotary_factor = 0"));
  EXPECT_TRUE(says(refused("partial_rotary_factor", 1.5), "partial_rotary_factor = 1.5"));
  EXPECT_TRUE(says(refused("sliding_window", -1), "sliding_window = -1"));
  EXPECT_EQ(refused("sliding_window", nullptr), "no error");
}

TEST(ModelConfigTest, RoundTrip) {
  for (const char* type : {"llama", "qwen3", "phi3"}) {
    auto object = llama();
    object["model_type"] = type;
    object["mlp_bias"] = true;
    object["eos_token_id"] = 5;
    const auto written = model_config_json(parse_model_config(object, "a"));
    EXPECT_EQ(model_config_json(parse_model_config(written, "b")), written);
    EXPECT_EQ(written.at("eos_token_id"), 5);
    EXPECT_FALSE(written.contains("bos_token_id"));
  }
}

TEST(ModelConfigTest, MissingKeysAreNamed) {
  for (const char* key : {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
                          "intermediate_size"}) {
    auto object = llama();
    object.erase(key);
    EXPECT_TRUE(says(refusal([&] { parse_model_config(object, "config.json"); }), "config.json",
                     key, "missing"));
  }
}

TEST(ModelConfigTest, WrongTypesAreNamed) {
  for (const char* key :
       {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads", "intermediate_size", "head_dim", "max_position_embeddings"}) {
    EXPECT_TRUE(says(refusal_of(key, "12"), key, "must be an integer"));
    EXPECT_TRUE(says(refusal_of(key, 1.5), key, "not 1.5"));
  }
  for (const char* key : {"rms_norm_eps", "rope_theta"}) {
    EXPECT_TRUE(says(refusal_of(key, "1"), key, "must be a number"));
  }
  for (const char* key : {"tie_word_embeddings", "attention_bias", "mlp_bias"}) {
    EXPECT_TRUE(says(refusal_of(key, 1), key, "true or false"));
  }
  EXPECT_TRUE(says(refusal_of("eos_token_id", "x"), "token id"));
  EXPECT_TRUE(says(refusal_of("bos_token_id", json::array()), "token id"));
  EXPECT_TRUE(says(refusal_of("model_type", 3), "must be a string"));
  EXPECT_TRUE(says(refusal([] { parse_model_config(json::array(), "config.json"); }),
                   "must be a JSON object"));
}

TEST(ModelConfigTest, ValuesOutOfRange) {
  for (const char* key : {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
                          "num_key_value_heads", "intermediate_size", "head_dim"}) {
    for (const int64_t value : {int64_t{0}, int64_t{-6}, int64_t{1} << 40}) {
      EXPECT_NE(refusal_of(key, value), "no error") << key << " " << value;
    }
  }
  EXPECT_TRUE(says(refusal_of("num_key_value_heads", 4), "does not divide"));
  EXPECT_TRUE(says(refusal_of("num_attention_heads", 5), "does not divide hidden_size"));
  EXPECT_TRUE(says(refusal_of("num_attention_heads", 16), "must be even"));
  EXPECT_TRUE(says(refusal_of("rms_norm_eps", 0.0), "rms_norm_eps"));
  EXPECT_TRUE(says(refusal_of("rms_norm_eps", -1e-5), "rms_norm_eps"));
  EXPECT_TRUE(says(refusal_of("rope_theta", 0), "rope_theta"));
  ModelConfig config = small_config();
  config.rope_theta = std::numeric_limits<double>::infinity();
  EXPECT_TRUE(says(refusal([&] { config.validate("here"); }), "here: rope_theta"));
}

TEST(ModelConfigTest, OtherArchitecturesAreRefused) {
  EXPECT_TRUE(says(refusal_of("model_type", "mistral"), "'mistral' is not supported", "phi3"));
  EXPECT_TRUE(says(refusal_of("rope_scaling", {{"type", "linear"}}), "rope_scaling", "'linear'"));
  EXPECT_TRUE(says(refusal_of("rope_scaling", 2.0), "rope_scaling"));
  EXPECT_TRUE(says(refusal_of("rope_scaling", {{"rope_type", 3}}), "rope_scaling"));
  EXPECT_EQ(refusal_of("rope_scaling", {{"rope_type", "default"}}), "no error");
  EXPECT_TRUE(says(refusal_of("hidden_act", "gelu"), "hidden_act \"gelu\""));
  EXPECT_TRUE(says(refusal_of("use_sliding_window", true), "use_sliding_window"));
  EXPECT_TRUE(says(refusal_of("use_sliding_window", "yes"), "use_sliding_window"));
  EXPECT_EQ(refusal_of("use_sliding_window", false), "no error");
  EXPECT_TRUE(says(refusal_of("partial_rotary_factor", 0.5), "partial_rotary_factor", "'phi3'"));
  EXPECT_TRUE(says(refusal_of("partial_rotary_factor", "half"), "partial_rotary_factor"));
}

TEST(ModelConfigTest, ContradictionsOfTheMethod) {
  const auto refused = [](MethodSpec method) {
    return refusal([&] { small_config(method).validate("m"); });
  };
  MethodSpec method;
  method.routing = Routing::kProjected;
  EXPECT_TRUE(says(refused(method), "routing 'projected' contradicts"));
  method = {};
  method.depth = NormalizerSpec{};
  EXPECT_TRUE(says(refused(method), "routing 'none' contradicts"));
  method = {};
  method.coupling.kind = Coupling::Kind::kLearned;
  EXPECT_TRUE(says(refused(method), "coupling needs depth routing"));
  method = routed(Routing::kProjected, Normalizer::kSoftmax, Coupling::Kind::kNone);
  method.router_size = 0;
  EXPECT_TRUE(says(refused(method), "router_size = 0"));
  method = routed(Routing::kBlock, Normalizer::kSoftmax, Coupling::Kind::kNone);
  for (const int64_t count : {0, -1, 3, 8}) {
    method.block_count = count;
    EXPECT_TRUE(says(refused(method), "must divide 2 × num_hidden_layers = 4"));
  }
  for (const int64_t count : {1, 2, 4}) {
    method.block_count = count;
    EXPECT_EQ(refused(method), "no error");
  }
  method = {};
  method.gate = true;
  auto config = small_config(method);
  config.num_attention_heads = 5;
  EXPECT_TRUE(says(refusal([&] { config.validate("m"); }), "head gate"));
}

TEST(MethodSpecTest, NamesAndTheirSuggestions) {
  for (const auto& name : routing_names()) EXPECT_EQ(routing_name(parse_routing(name)), name);
  for (const auto& name : recency_names()) EXPECT_EQ(recency_name(parse_recency(name)), name);
  EXPECT_TRUE(says(refusal([] { parse_routing("projeted"); }), "projected"));
  EXPECT_TRUE(says(refusal([] { parse_recency("absolut"); }), "absolute"));
}

}  // namespace
}  // namespace oasis
