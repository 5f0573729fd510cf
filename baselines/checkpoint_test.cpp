#include "baselines/checkpoint.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "baselines/method_config.h"
#include "baselines/registry.h"
#include "models/checkpoint_tensors.h"
#include "models/model_testing.h"
#include "models/safetensors.h"

namespace oasis {
namespace {

using namespace testing_support;
using nlohmann::json;

ModelConfig config_of(const std::string& method, bool tied = false) {
  auto config =
      small_config(resolve_method({{"method", method}, {"clip_gamma", -0.2}}, 12, "test"));
  config.tie_word_embeddings = tied;
  return config;
}

class CheckpointTest : public testing::Test {
 protected:
  std::string refusal_of_load() {
    return refusal([&] { load_checkpoint(folder, at::kFloat); });
  }
  // The saved tensors after `edit`, written in their place.
  template <typename Edit>
  void rewrite(Edit&& edit) {
    auto stored = read_safetensors(weights);
    edit(stored.tensors);
    write_safetensors(weights, stored.tensors, stored.metadata);
  }
  template <typename Edit>
  void rewrite_config(Edit&& edit) {
    auto object = json::parse(read_bytes(folder / "config.json"));
    edit(object);
    write_bytes(folder / "config.json", object.dump());
  }

  TemporaryFolder temporary;
  std::filesystem::path folder = temporary / "nested/checkpoint";
  std::filesystem::path weights = folder / "model.safetensors";
};

TEST_F(CheckpointTest, EveryMethodComesBackBitForBit) {
  for (const auto& method : methods()) {
    const auto model = small_model(config_of(std::string(method.name)), at::kFloat);
    save_checkpoint(model, folder);
    const auto loaded = load_checkpoint(folder, at::kFloat);
    ASSERT_EQ(loaded.parameters().size(), model.parameters().size()) << method.name;
    for (size_t i = 0; i < model.parameters().size(); ++i) {
      EXPECT_EQ(loaded.parameters()[i].first, model.parameters()[i].first);
      EXPECT_TRUE(at::equal(loaded.parameters()[i].second, model.parameters()[i].second))
          << method.name << " " << model.parameters()[i].first;
    }
    const auto tokens = some_tokens(2, 6);
    EXPECT_TRUE(at::equal(loaded.forward(tokens), model.forward(tokens))) << method.name;
    EXPECT_EQ(checkpoint_config_json(loaded.config()), checkpoint_config_json(model.config()));
    EXPECT_EQ(load_checkpoint(folder, at::kDouble).embed_tokens().scalar_type(), at::kDouble);
  }
}

TEST_F(CheckpointTest, Phi3FoldersHoldFusedProjections) {
  auto config = config_of("oasis");
  config.model_type = "phi3";
  config.fused_projections = true;
  config.head_dim = 8;
  config.partial_rotary_factor = 0.75;
  const auto model = small_model(config, at::kFloat);
  save_checkpoint(model, folder);
  const auto stored = read_safetensors(weights);
  EXPECT_TRUE(stored.contains("model.layers.0.self_attn.qkv_proj.weight"));
  EXPECT_TRUE(stored.contains("model.layers.0.mlp.gate_up_proj.weight"));
  EXPECT_FALSE(stored.contains("model.layers.0.self_attn.q_proj.weight"));
  EXPECT_FALSE(stored.contains("model.layers.0.mlp.up_proj.weight"));

  const auto loaded = load_checkpoint(folder, at::kFloat);
  EXPECT_EQ(checkpoint_config_json(loaded.config()), checkpoint_config_json(config));
  const auto tokens = some_tokens(2, 6);
  EXPECT_TRUE(at::equal(loaded.forward(tokens), model.forward(tokens)));

  rewrite([](NamedTensors& t) {
    for (auto& [name, tensor] : t) {
      if (name == "model.layers.0.self_attn.qkv_proj.weight") tensor = tensor.narrow(0, 0, 24);
    }
  });
  EXPECT_TRUE(says(refusal_of_load(), "qkv_proj.weight", "24×12", "asks for 40×12"));
}

TEST_F(CheckpointTest, AFolderWithoutTheObjectIsAPlainModel) {
  const auto model = small_model(config_of("prenorm"), at::kFloat);
  save_checkpoint(model, folder);
  rewrite_config([](json& object) { object.erase("oasis"); });
  EXPECT_EQ(read_checkpoint_config(folder).method.method, "prenorm");
  EXPECT_TRUE(at::equal(load_checkpoint(folder, at::kFloat).forward(some_tokens(1, 4)),
                        model.forward(some_tokens(1, 4))));
}

TEST_F(CheckpointTest, TensorsThatDoNotFitAreNamed) {
  const std::string name = "model.layers.1.attn_res_mlp.oasis_beta_raw";
  const auto edited = [&](auto&& edit) {
    save_checkpoint(small_model(config_of("oasis"), at::kFloat), folder);
    rewrite(edit);
    return refusal_of_load();
  };
  const auto index = [&](const NamedTensors& tensors) {
    for (size_t i = 0; i < tensors.size(); ++i) {
      if (tensors[i].first == name) return i;
    }
    throw std::runtime_error("no " + name);
  };
  EXPECT_TRUE(says(
      edited([&](NamedTensors& t) { t.erase(t.begin() + static_cast<std::ptrdiff_t>(index(t))); }),
      weights.string(), name, "missing"));
  EXPECT_TRUE(says(edited([&](NamedTensors& t) {
                     t[index(t)].second = at::zeros({3, 2});
                   }),
                   weights.string(), name, "3×2", "asks for 1"));
  EXPECT_TRUE(says(edited([&](NamedTensors& t) {
                     t[index(t)].second = at::zeros({1}, at::TensorOptions(at::kInt));
                   }),
                   name, "not floating point"));
  EXPECT_TRUE(says(edited([&](NamedTensors& t) { t.emplace_back("model.extra", at::zeros({1})); }),
                   "'model.extra'", "no place"));
  EXPECT_TRUE(
      says(edited([&](NamedTensors& t) { t[index(t)].first = "model.renamed"; }), name, "missing"));
}

TEST_F(CheckpointTest, ATiedHeadMayBeStoredIfItIsTheEmbedding) {
  save_checkpoint(small_model(config_of("oasis", /*tied=*/true), at::kFloat), folder);
  const auto embedding = read_safetensors(weights).at("model.embed_tokens.weight", weights);
  rewrite([&](NamedTensors& t) { t.emplace_back("lm_head.weight", embedding); });
  EXPECT_EQ(refusal_of_load(), "no error");
  rewrite([&](NamedTensors& t) {
    for (auto& [name, tensor] : t) {
      if (name == "lm_head.weight") tensor = embedding + 1;
    }
  });
  EXPECT_TRUE(says(refusal_of_load(), "'lm_head.weight'", "no place"));
}

TEST_F(CheckpointTest, DamageIsNamed) {
  EXPECT_TRUE(says(refusal_of_load(), folder.string(), "not a checkpoint folder"));
  std::filesystem::create_directories(folder);
  EXPECT_TRUE(says(refusal_of_load(), "config.json", "cannot be read"));
  save_checkpoint(small_model(config_of("oasis"), at::kFloat), folder);
  const auto good = read_bytes(weights);
  auto flipped = good;
  flipped[good.size() - 5] = static_cast<char>(flipped[good.size() - 5] ^ 1);
  write_bytes(weights, flipped);
  EXPECT_TRUE(says(refusal_of_load(), weights.string(), "damaged"));
  write_bytes(weights, good.substr(0, good.size() / 2));
  EXPECT_TRUE(says(refusal_of_load(), weights.string()));
  std::filesystem::remove(weights);
  EXPECT_TRUE(says(refusal_of_load(), weights.string(), "cannot be read"));
  const auto config = read_bytes(folder / "config.json");
  write_bytes(folder / "config.json", config.substr(0, config.size() / 2));
  EXPECT_TRUE(says(refusal_of_load(), "config.json", "not valid JSON"));
  write_bytes(folder / "config.json", "[]");
  EXPECT_TRUE(says(refusal_of_load(), "config.json", "JSON object"));
}

// As the weights of a bfloat16 folder come back: what each was stored in, unchanged.
TEST_F(CheckpointTest, StorageTypesOutliveAnExport) {
  for (const auto type : {at::kBFloat16, at::kHalf}) {
    save_checkpoint(small_model(config_of("oasis"), at::kFloat), folder,
                    {{"model.embed_tokens.weight", type},
                     {"model.norm.weight", at::kFloat},
                     {"model.layers.0.mlp.up_proj.weight", type}});
    const auto again = temporary / "again";
    save_checkpoint(load_checkpoint(folder, at::kFloat), again, storage_types(folder));
    EXPECT_EQ(read_bytes(again / "model.safetensors"), read_bytes(weights));
    EXPECT_EQ(json::parse(read_bytes(again / "config.json"))["torch_dtype"],
              type == at::kHalf ? "float16" : "bfloat16");
    EXPECT_EQ(storage_types(again).at("model.layers.0.mlp.up_proj.weight"), type);
    EXPECT_EQ(storage_types(again).at("model.layers.1.mlp.up_proj.weight"), at::kFloat);
  }
}

TEST_F(CheckpointTest, AnotherMethodKeepsTheBackboneAndStartsItsRouters) {
  const auto plain = small_model(config_of("prenorm"), at::kFloat);
  save_checkpoint(plain, folder);
  const auto tokens = some_tokens(2, 6);
  const auto as = [&](const std::string& method, const InitializationOptions& options,
                      uint64_t seed = 5) {
    return load_checkpoint_as(folder, config_of(method).method, options, seed);
  };
  EXPECT_TRUE(at::equal(as("prenorm", {}).forward(tokens), plain.forward(tokens)));

  const InitializationOptions options{.recency_bias = 48.0,
                                      .router_query_init = RouterQueryInit::kZero};
  const auto routed = as("oasis", options);
  const auto& router = routed.layers()[1].router_mlp;
  EXPECT_EQ(router.recency_bias.item<double>(), 48.0);
  EXPECT_EQ(router.q_proj.abs().sum().item<double>(), 0.0);
  EXPECT_TRUE(at::equal(routed.layers()[1].down_proj.weight, plain.layers()[1].down_proj.weight));
  EXPECT_FALSE(at::equal(router.k_proj, as("oasis", options, 6).layers()[1].router_mlp.k_proj));

  // A recency bias this strong puts all weight on the newest source: the residual sum.
  const auto attnres = as("attnres", options);
  EXPECT_TRUE(at::allclose(attnres.forward(tokens), plain.forward(tokens), 1e-5, 1e-5));
  const auto gated = as("gated_attention", {.gate_init = 0.5});
  EXPECT_EQ(gated.layers()[0].head_gate.bias.abs().sum().item<double>(), 0.0);

  save_checkpoint(routed, folder);  // with routers of its own, which are kept
  EXPECT_EQ(as("oasis", {}).layers()[0].router_sa.recency_bias.item<double>(), 48.0);
  EXPECT_TRUE(at::equal(as("prenorm", {}).forward(tokens), plain.forward(tokens)));
  auto other = config_of("oasis").method;
  other.router_size = 5;
  EXPECT_TRUE(says(refusal([&] { load_checkpoint_as(folder, other, {}, 0); }), "attn_res_sa",
                   "asks for 5×12"));
}

TEST_F(CheckpointTest, AConfigurationBeyondAllMemoryIsRefused) {
  save_checkpoint(small_model(config_of("oasis"), at::kFloat), folder);
  for (const auto& [key, value, expected] :
       {std::tuple("num_hidden_layers", 16'000'000, "model.layers.15999999"),
        std::tuple("vocab_size", 16'000'000, "asks for 16000000×12"),
        std::tuple("hidden_size", 16'000'000, "asks for 19×16000000"),
        std::tuple("num_attention_heads", 16'000'000, "num_attention_heads × head_dim")}) {
    const auto before = read_bytes(folder / "config.json");
    rewrite_config([&](json& object) { object[key] = value; });
    EXPECT_TRUE(says(refusal_of_load(), expected)) << key;
    write_bytes(folder / "config.json", before);
  }
}

// Values of config.json changed at random, also inside its objects: read, or refused in words.
TEST_F(CheckpointTest, RandomDamageToTheConfigurationNeverCrashes) {
  auto config = config_of("oasis");
  config.rope_scaling.kind = RopeScaling::Kind::kLlama3;
  config.rope_scaling.factor = 8;
  config.rope_scaling.original_max_position_embeddings = 64;
  save_checkpoint(small_model(config, at::kFloat), folder);
  const auto text = read_bytes(folder / "config.json");
  const auto good = json::parse(text);
  const std::vector<json> values = {nullptr,
                                    true,
                                    -1,
                                    0,
                                    1,
                                    3,
                                    1e300,
                                    0.5,
                                    1 << 30,
                                    json::array({1, "x"}),
                                    json::object(),
                                    "",
                                    "none",
                                    "oasis",
                                    "llama3",
                                    "longrope",
                                    INT64_MIN,
                                    "block",
                                    "phi3",
                                    -0.0,
                                    UINT64_MAX};
  std::mt19937 random(3);
  const auto change = [&](auto&& self, json& object) -> void {
    auto item = object.begin();
    std::advance(item, static_cast<int>(random() % object.size()));
    if (item->is_object() && !item->empty() && random() % 2 == 0) {
      self(self, *item);
    } else if (random() % 8 == 0) {
      object.erase(item);
    } else {
      *item = values[random() % values.size()];
    }
  };
  int refused = 0;
  for (int i = 0; i < 3000; ++i) {
    auto object = good;
    for (int edits = 1 + static_cast<int>(random() % 2); edits > 0; --edits) change(change, object);
    write_bytes(folder / "config.json", object.dump());
    const auto message = refusal_of_load();
    if (message == "no error") continue;
    ++refused;
    EXPECT_TRUE(says(message, folder.string())) << object.dump();
  }
  for (int i = 0; i < 1000; ++i) {
    auto damaged = text;
    damaged[random() % damaged.size()] = static_cast<char>(random());
    write_bytes(folder / "config.json", damaged);
    const auto message = refusal_of_load();
    if (message != "no error") {
      EXPECT_TRUE(says(message, folder.string())) << damaged;
    }
  }
  EXPECT_GT(refused, 1500);
}

TEST_F(CheckpointTest, AFolderThatCannotBeMade) {
  std::filesystem::create_directories(folder.parent_path());
  write_bytes(folder, "a file");
  const auto model = small_model(config_of("oasis"), at::kFloat);
  EXPECT_TRUE(says(refusal([&] { save_checkpoint(model, folder / "below"); }), "cannot be made"));
  EXPECT_EQ(read_bytes(folder), "a file");
}

}  // namespace
}  // namespace oasis
