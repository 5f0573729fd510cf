#include "models/initialization.h"

#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "models/model_testing.h"

namespace oasis {
namespace {

using namespace testing_support;

std::map<std::string, at::Tensor> weights_of(const ModelConfig& config, uint64_t seed,
                                             const InitializationOptions& options = {}) {
  Decoder model(config, at::TensorOptions(at::kFloat));
  initialize(model, options, seed);
  return {model.parameters().begin(), model.parameters().end()};
}

ModelConfig wide(MethodSpec method) {
  auto config = small_config(std::move(method));
  config.hidden_size = 240;
  config.num_attention_heads = 3;
  config.vocab_size = 200;
  if (config.method.router_size > 0) config.method.router_size = 64;
  return config;
}

MethodSpec full_method() {
  auto method = routed(Routing::kProjected, Normalizer::kSoftmax1, Coupling::Kind::kLearned);
  method.gate = true;
  return method;
}

TEST(InitializationTest, MethodsUnderOneSeedShareTheBackbone) {
  const auto plain = weights_of(wide({}), 5);
  const auto pseudo_query =
      routed(Routing::kPseudoQuery, Normalizer::kSparsemax, Coupling::Kind::kNone);
  for (const auto& method : {full_method(), pseudo_query}) {
    const auto other = weights_of(wide(method), 5);
    EXPECT_GT(other.size(), plain.size());
    for (const auto& [name, value] : plain) {
      ASSERT_TRUE(other.contains(name)) << name;
      EXPECT_TRUE(at::equal(value, other.at(name))) << name;
    }
  }
}

TEST(InitializationTest, TheSeedAndTheNameDecide) {
  const auto config = wide(full_method());
  const auto one = weights_of(config, 5), again = weights_of(config, 5),
             two = weights_of(config, 6);
  for (const auto& [name, value] : one) EXPECT_TRUE(at::equal(value, again.at(name))) << name;
  const std::string q0 = "model.layers.0.self_attn.q_proj.weight";
  const std::string q1 = "model.layers.1.self_attn.q_proj.weight";
  EXPECT_FALSE(at::equal(one.at(q0), two.at(q0)));
  EXPECT_FALSE(at::equal(one.at(q0), one.at(q1)));
}

TEST(InitializationTest, EveryKindOfParameter) {
  auto config = wide(full_method());
  config.attention_bias = true;
  config.qk_norm = true;
  const auto w = weights_of(config, 1);
  const auto all = [&](const std::string& name, double value) {
    const auto& x = w.at(name);
    EXPECT_LE((x - value).abs().max().item<double>(), 1e-6) << name << ": " << x;
  };
  const auto spread = [&](const std::string& name, double deviation) {
    const auto& x = w.at(name);
    // Five standard errors of a normal sample's deviation and mean.
    const auto n = static_cast<double>(x.numel());
    EXPECT_NEAR(x.std().item<double>(), deviation, 5 * deviation / std::sqrt(2 * n)) << name;
    EXPECT_NEAR(x.mean().item<double>(), 0.0, 5 * deviation / std::sqrt(n)) << name;
  };
  spread("model.embed_tokens.weight", 0.02);
  spread("lm_head.weight", 0.02);
  spread("model.layers.0.mlp.down_proj.weight", 0.02);
  spread("model.layers.1.attn_res_sa.q_proj.weight", 0.02 / 8);  // √A = 8
  spread("model.layers.1.attn_res_mlp.k_proj.weight", 0.02 / 8);
  all("model.norm.weight", 1.0);
  all("model.layers.0.input_layernorm.weight", 1.0);
  all("model.layers.0.self_attn.q_norm.weight", 1.0);
  all("model.layers.0.self_attn.q_proj.bias", 0.0);
  all("model.layers.0.self_attn.gate.weight", 0.0);
  EXPECT_LE((w.at("model.layers.0.self_attn.gate.bias").sigmoid() - 0.25).abs().max().item<float>(),
            1e-7);
  all("model.layers.1.attn_res_sa.recency_bias", 0.0);
  all("model.layers.1.attn_res_sa.oasis_beta_raw", -5.0);
}

TEST(InitializationTest, PseudoQueriesStartAtZero) {
  const auto w = weights_of(
      wide(routed(Routing::kPseudoQuery, Normalizer::kSoftmax1, Coupling::Kind::kLearned)), 1);
  for (const char* router : {"model.final_res", "model.layers.0.attn_res_sa"}) {
    const std::string name(router);
    EXPECT_EQ(w.at(name + ".query").abs().max().item<float>(), 0.F);
    EXPECT_EQ(w.at(name + ".key_norm.weight").min().item<float>(), 1.F);
    EXPECT_EQ(w.at(name + ".oasis_beta_raw").item<float>(), -5.F);
  }
}

TEST(InitializationTest, EachFieldIsFollowed) {
  const auto w = weights_of(wide(full_method()), 1,
                            {.initializer_range = 0.1,
                             .recency_bias = 8.0,
                             .router_query_init = RouterQueryInit::kZero,
                             .beta_raw = 1.5,
                             .gate_init = 0.9});
  EXPECT_NEAR(w.at("lm_head.weight").std().item<double>(), 0.1, 0.002);
  EXPECT_EQ(w.at("model.layers.0.attn_res_mlp.recency_bias").item<float>(), 8.F);
  EXPECT_EQ(w.at("model.layers.0.attn_res_mlp.oasis_beta_raw").item<float>(), 1.5F);
  EXPECT_EQ(w.at("model.layers.0.attn_res_sa.q_proj.weight").abs().max().item<float>(), 0.F);
  EXPECT_GT(w.at("model.layers.0.attn_res_sa.k_proj.weight").abs().max().item<float>(), 0.F);
  EXPECT_NEAR(w.at("model.layers.1.self_attn.gate.bias")[0].item<double>(), std::log(9.0), 1e-6);
}

TEST(InitializationTest, AGateOutsideZeroToOneIsRefused) {
  for (const double value : {0.0, 1.0, -0.5, std::nan("")}) {
    EXPECT_TRUE(says(refusal([&] { weights_of(small_config(), 1, {.gate_init = value}); }),
                     "gate_init", "between 0 and 1"));
  }
}

}  // namespace
}  // namespace oasis
