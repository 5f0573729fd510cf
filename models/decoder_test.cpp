#include "models/decoder.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <map>

#include "models/model_testing.h"

namespace oasis {
namespace {

using namespace testing_support;

std::map<std::string, std::vector<int64_t>> shapes_of(const ModelConfig& config) {
  std::map<std::string, std::vector<int64_t>> shapes;
  const Decoder model(config, at::TensorOptions(at::kFloat));
  for (const auto& [name, tensor] : model.parameters()) {
    EXPECT_FALSE(shapes.contains(name)) << name << " twice";
    shapes[name] = tensor.sizes().vec();
  }
  return shapes;
}

TEST(DecoderTest, NamesAndShapesOfAPlainModel) {
  const auto shapes = shapes_of(small_config());
  EXPECT_EQ(shapes.size(), 2 * 9 + 3U);
  EXPECT_EQ(shapes.at("model.embed_tokens.weight"), (std::vector<int64_t>{19, 12}));
  EXPECT_EQ(shapes.at("lm_head.weight"), (std::vector<int64_t>{19, 12}));
  EXPECT_EQ(shapes.at("model.norm.weight"), (std::vector<int64_t>{12}));
  const std::string layer = "model.layers.1.";
  EXPECT_EQ(shapes.at(layer + "self_attn.q_proj.weight"), (std::vector<int64_t>{12, 12}));
  EXPECT_EQ(shapes.at(layer + "self_attn.k_proj.weight"), (std::vector<int64_t>{4, 12}));
  EXPECT_EQ(shapes.at(layer + "self_attn.v_proj.weight"), (std::vector<int64_t>{4, 12}));
  EXPECT_EQ(shapes.at(layer + "self_attn.o_proj.weight"), (std::vector<int64_t>{12, 12}));
  EXPECT_EQ(shapes.at(layer + "mlp.gate_proj.weight"), (std::vector<int64_t>{20, 12}));
  EXPECT_EQ(shapes.at(layer + "mlp.up_proj.weight"), (std::vector<int64_t>{20, 12}));
  EXPECT_EQ(shapes.at(layer + "mlp.down_proj.weight"), (std::vector<int64_t>{12, 20}));
  EXPECT_EQ(shapes.at(layer + "input_layernorm.weight"), (std::vector<int64_t>{12}));
  EXPECT_EQ(shapes.at(layer + "post_attention_layernorm.weight"), (std::vector<int64_t>{12}));
}

TEST(DecoderTest, NamesAndShapesOfWhatMethodsAdd) {
  auto method = routed(Routing::kProjected, Normalizer::kSoftmax1, Coupling::Kind::kLearned);
  method.gate = true;
  auto config = small_config(method);
  config.tie_word_embeddings = true;
  config.qk_norm = true;
  config.attention_bias = true;
  config.mlp_bias = true;
  config.head_dim = 6;  // not D/H
  auto shapes = shapes_of(config);
  EXPECT_FALSE(shapes.contains("lm_head.weight"));
  const std::string layer = "model.layers.0.";
  EXPECT_EQ(shapes.at(layer + "self_attn.q_proj.weight"), (std::vector<int64_t>{18, 12}));
  EXPECT_EQ(shapes.at(layer + "self_attn.o_proj.weight"), (std::vector<int64_t>{12, 18}));
  EXPECT_EQ(shapes.at(layer + "self_attn.o_proj.bias"), (std::vector<int64_t>{12}));
  EXPECT_EQ(shapes.at(layer + "mlp.up_proj.bias"), (std::vector<int64_t>{20}));
  EXPECT_EQ(shapes.at(layer + "self_attn.q_norm.weight"), (std::vector<int64_t>{6}));
  EXPECT_EQ(shapes.at(layer + "self_attn.gate.weight"), (std::vector<int64_t>{3, 4}));
  EXPECT_EQ(shapes.at(layer + "self_attn.gate.bias"), (std::vector<int64_t>{3}));
  for (const char* router : {"attn_res_sa", "attn_res_mlp"}) {
    EXPECT_EQ(shapes.at(layer + router + ".q_proj.weight"), (std::vector<int64_t>{8, 12}));
    EXPECT_EQ(shapes.at(layer + router + ".k_proj.weight"), (std::vector<int64_t>{8, 12}));
    EXPECT_EQ(shapes.at(layer + router + ".recency_bias"), (std::vector<int64_t>{1}));
    EXPECT_EQ(shapes.at(layer + router + ".oasis_beta_raw"), (std::vector<int64_t>{1}));
  }
  EXPECT_FALSE(shapes.contains("model.final_res.query"));

  config.method = routed(Routing::kBlock, Normalizer::kSoftmax, Coupling::Kind::kNone);
  shapes = shapes_of(config);
  for (const char* router : {"model.layers.1.attn_res_sa", "model.final_res"}) {
    EXPECT_EQ(shapes.at(std::string(router) + ".query"), (std::vector<int64_t>{12}));
    EXPECT_EQ(shapes.at(std::string(router) + ".key_norm.weight"), (std::vector<int64_t>{12}));
    EXPECT_FALSE(shapes.contains(std::string(router) + ".oasis_beta_raw"));
    EXPECT_FALSE(shapes.contains(std::string(router) + ".recency_bias"));
  }
}

TEST(DecoderTest, TheLossIsTheMeanOverNextTokens) {
  for (const bool tied : {false, true}) {
    auto config = small_config();
    config.tie_word_embeddings = tied;
    const auto model = small_model(config);
    const auto tokens = some_tokens(3, 7);
    const auto logits = model.logits(model.forward(tokens)).narrow(1, 0, 6).reshape({18, 19});
    const auto [mean, losses] = model.loss(tokens);
    const auto expected = at::cross_entropy_loss(logits, tokens.narrow(1, 1, 6).reshape({18}));
    EXPECT_NEAR(mean.item<double>(), expected.item<double>(), 1e-12);
    EXPECT_EQ(losses.sizes(), (std::vector<int64_t>{3, 6}));
    EXPECT_NEAR(losses.mean().item<double>(), expected.item<double>(), 1e-12);
  }
}

TEST(DecoderTest, GroupedHeadsAreHeadsWithSharedKeys) {
  auto config = small_config();
  config.num_attention_heads = 6;
  config.num_key_value_heads = 2;
  const auto grouped = small_model(config);
  config.num_key_value_heads = 6;
  Decoder full(config, at::TensorOptions(at::kDouble));
  for (size_t i = 0; i < full.parameters().size(); ++i) {
    const auto& [name, target] = full.parameters()[i];
    const auto& source = grouped.parameters()[i].second;
    const bool repeated = target.sizes() != source.sizes();
    target.copy_(repeated ? source.view({2, 4, 12}).repeat_interleave(3, 0).reshape({24, 12})
                          : source);
  }
  const auto tokens = some_tokens(2, 9);
  EXPECT_LE(relative_error(full.forward(tokens), grouped.forward(tokens)), 1e-13);
}

TEST(DecoderTest, SequencesBeyondTheSlidingWindowAreRefused) {
  auto config = small_config();
  config.sliding_window = 7;
  const auto model = small_model(config);
  EXPECT_TRUE(at::equal(model.forward(some_tokens(2, 7)),
                        small_model(small_config()).forward(some_tokens(2, 7))));
  EXPECT_TRUE(
      says(refusal([&] { model.forward(some_tokens(2, 8)); }), "8 tokens", "sliding_window = 7"));
}

class Recorder : public ForwardObserver {
 public:
  explicit Recorder(bool points) : points_(points) {}
  bool has_points() const override { return points_; }
  bool has_attention() const override { return !points_; }
  void attention(int64_t layer, const at::Tensor& probs, const at::Tensor&) override {
    EXPECT_EQ(probs.sizes(), (std::vector<int64_t>{2, 3, 8, 8})) << layer;
    ++attentions;
  }
  void depth_weights(const std::string& router, const at::Tensor& weights,
                     const std::vector<SourceLayers>& sources) override {
    EXPECT_EQ(weights.size(-1), static_cast<int64_t>(sources.size())) << router;
    EXPECT_TRUE(sources.front().empty()) << router;
    held[router] = sources;
    ++routers;
  }
  int attentions = 0, routers = 0;
  std::map<std::string, std::vector<SourceLayers>> held;

 private:
  bool points_;
};

TEST(DecoderTest, LookingInsideChangesNothing) {
  for (const auto routing :
       {Routing::kNone, Routing::kProjected, Routing::kPseudoQuery, Routing::kBlock}) {
    const auto method = routing == Routing::kNone
                            ? MethodSpec{}
                            : routed(routing, Normalizer::kSoftmax1, Coupling::Kind::kLearned);
    const auto model = small_model(small_config(method));
    const auto tokens = some_tokens(2, 8);
    const auto expected = model.forward(tokens);
    for (const bool points : {false, true}) {
      Recorder recorder(points);
      EXPECT_LE(relative_error(model.forward(tokens, &recorder), expected), 1e-12)
          << routing_name(routing);
      EXPECT_EQ(recorder.attentions, points ? 0 : 2);
      const bool final_router = routing == Routing::kPseudoQuery || routing == Routing::kBlock;
      EXPECT_EQ(recorder.routers, routing == Routing::kNone ? 0 : (final_router ? 5 : 4));
    }
    const at::NoGradGuard no_grad;  // where slots of the history are used again
    EXPECT_LE(relative_error(model.forward(tokens), expected), 1e-15) << routing_name(routing);
  }
}

TEST(DecoderTest, SourcesNameTheLayersOfTheirOutputs) {
  auto method = routed(Routing::kBlock, Normalizer::kSoftmax, Coupling::Kind::kNone);
  auto config = small_config(method);
  config.num_hidden_layers = 3;  // two runs of three outputs
  Recorder recorder(true);
  const std::vector<SourceLayers> first = {{}, {0, 0, 1}}, all = {{}, {0, 0, 1}, {1, 2, 2}};
  small_model(config).forward(some_tokens(2, 8), &recorder);
  EXPECT_EQ(recorder.held["0.sa"], (std::vector<SourceLayers>{{}}));
  EXPECT_EQ(recorder.held["1.sa"], (std::vector<SourceLayers>{{}, {0, 0}}));
  EXPECT_EQ(recorder.held["1.mlp"], first);
  EXPECT_EQ(recorder.held["final"], all);
}

TEST(DecoderTest, CopiesAreIndependent) {
  const auto model = small_model(small_config());
  const auto copy = model.to(at::TensorOptions(at::kDouble));
  const auto single = model.to(at::TensorOptions(at::kFloat));
  const auto tokens = some_tokens(1, 5);
  const auto before = model.forward(tokens);
  EXPECT_TRUE(at::equal(copy.forward(tokens), before));
  EXPECT_LE(relative_error(single.forward(tokens), before), 1e-5);
  copy.embed_tokens().zero_();
  EXPECT_TRUE(at::equal(model.forward(tokens), before));
  EXPECT_EQ(model.parameter_count(), 19 * 12 * 2 + 12 + 2 * (2 * 12 + 2 * 144 + 2 * 48 + 3 * 240));
}

TEST(DecoderTest, AWrongConfigurationIsRefused) {
  auto config = small_config();
  config.num_key_value_heads = 2;
  EXPECT_TRUE(says(refusal([&] { Decoder(config, at::TensorOptions(at::kFloat)); }),
                   "num_key_value_heads = 2", "does not divide"));
}

}  // namespace
}  // namespace oasis
