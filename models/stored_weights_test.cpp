#include "models/stored_weights.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "models/model_testing.h"

namespace oasis {
namespace {

using namespace testing_support;

ModelConfig phi3() {
  auto config =
      small_config(routed(Routing::kProjected, Normalizer::kSoftmax1, Coupling::Kind::kLearned));
  config.model_type = "phi3";
  config.fused_projections = true;
  config.attention_bias = true;
  return config;
}

const StoredWeight& named(const std::vector<StoredWeight>& weights, const std::string& name) {
  const auto found = std::ranges::find(weights, name, &StoredWeight::name);
  if (found == weights.end()) throw std::runtime_error("no " + name);
  return *found;
}

TEST(StoredWeightsTest, LlamaStoresEveryParameterUnderItsName) {
  const auto model = small_model(small_config());
  const auto weights = stored_weights(model);
  ASSERT_EQ(weights.size(), model.parameters().size());
  for (size_t i = 0; i < weights.size(); ++i) {
    EXPECT_EQ(weights[i].name, model.parameters()[i].first);
    ASSERT_EQ(weights[i].parts.size(), 1);
    EXPECT_TRUE(weights[i].parts.front().is_same(model.parameters()[i].second));
  }
}

TEST(StoredWeightsTest, Phi3StacksTheRowsOfItsProjections) {
  const auto model = small_model(phi3());
  const auto& layer = model.layers()[1];
  const auto weights = stored_weights(model);
  EXPECT_EQ(weights.size(), model.parameters().size() - 2 * (2 * 2 + 1));  // biases of q, k, v too
  const auto value = [](const at::Tensor& part) { return part; };
  const auto& qkv = named(weights, "model.layers.1.self_attn.qkv_proj.weight");
  EXPECT_EQ(qkv.sizes(), (std::vector<int64_t>{(3 + 1 + 1) * 4, 12}));
  EXPECT_TRUE(at::equal(qkv.stack(value),
                        at::cat({layer.q_proj.weight, layer.k_proj.weight, layer.v_proj.weight})));
  const auto& bias = named(weights, "model.layers.1.self_attn.qkv_proj.bias");
  EXPECT_EQ(bias.sizes(), std::vector<int64_t>{(3 + 1 + 1) * 4});
  EXPECT_TRUE(at::equal(bias.stack(value),
                        at::cat({layer.q_proj.bias, layer.k_proj.bias, layer.v_proj.bias})));
  const auto& gate_up = named(weights, "model.layers.1.mlp.gate_up_proj.weight");
  EXPECT_EQ(gate_up.sizes(), (std::vector<int64_t>{2 * 20, 12}));
  EXPECT_TRUE(
      at::equal(gate_up.stack(value), at::cat({layer.gate_proj.weight, layer.up_proj.weight})));
  // A router's projections are its own.
  named(weights, "model.layers.1.attn_res_sa.q_proj.weight");
}

TEST(StoredWeightsTest, AssignIsTheInverseOfStack) {
  const auto from = small_model(phi3(), at::kFloat, 1), to = small_model(phi3(), at::kFloat, 2);
  const auto source = stored_weights(from), target = stored_weights(to);
  for (size_t i = 0; i < source.size(); ++i) {
    target[i].assign(source[i].stack([](const at::Tensor& part) { return part; }));
  }
  for (size_t i = 0; i < from.parameters().size(); ++i) {
    EXPECT_TRUE(at::equal(from.parameters()[i].second, to.parameters()[i].second))
        << from.parameters()[i].first;
  }
}

}  // namespace
}  // namespace oasis
