#include "models/quantization.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "kernels/fake_quantize/fake_quantize.h"
#include "models/model_testing.h"

namespace oasis {
namespace {

using namespace testing_support;

TEST(QuantizationPointsTest, TheTwoSets) {
  using enum QuantizationPoints;
  const std::string layer = "model.layers.3.";
  for (const char* name :
       {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
        "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "self_attn.scores", "self_attn.probs",
        "self_attn.context", "attn_res_sa", "attn_res_mlp", "attn_res_sa.q_proj",
        "attn_res_mlp.k_proj"}) {
    EXPECT_TRUE(is_quantization_point(layer + name, kPublished)) << name;
    EXPECT_TRUE(is_quantization_point(layer + name, kAllInputs)) << name;
  }
  for (const std::string& name : {layer + "input_layernorm", layer + "post_attention_layernorm",
                                  layer + "mlp.product", layer + "self_attn.gated_context",
                                  std::string("model.norm"), std::string("model.embed_tokens")}) {
    EXPECT_FALSE(is_quantization_point(name, kPublished)) << name;
    EXPECT_TRUE(is_quantization_point(name, kAllInputs)) << name;
  }
  for (const std::string& name :
       {layer + "self_attn.q_norm", layer + "self_attn.gate", layer + "attn_res_sa.key_norm",
        std::string("model.final_res"), std::string("lm_head")}) {
    EXPECT_FALSE(is_quantization_point(name, kAllInputs)) << name;
  }
}

TEST(QuantizationPointsTest, Names) {
  for (const char* name : {"published", "all_inputs"}) {
    EXPECT_EQ(quantization_points_name(parse_quantization_points(name)), name);
  }
  EXPECT_TRUE(says(refusal([] { parse_quantization_points("all_input"); }), "'all_inputs'"));
}

TEST(QuantizationOptionsTest, RangesOfTheFields) {
  const auto model = small_model(small_config());
  const auto refused = [&](const QuantizationOptions& options) {
    return refusal([&] { QuantizedModel(model, options); });
  };
  for (const int bits : {-1, 0, 1, 17, 64}) {
    EXPECT_TRUE(says(refused({.weight_bits = bits}), "weight_bits", "[2, 16]")) << bits;
    EXPECT_TRUE(says(refused({.activation_bits = bits}), "activation_bits", "[2, 16]")) << bits;
  }
  for (const int bits : {2, 16}) {
    EXPECT_EQ(refused({.weight_bits = bits, .activation_bits = bits}), "no error");
  }
  EXPECT_TRUE(says(refused({.momentum = 1.0}), "momentum"));
  EXPECT_TRUE(says(refused({.momentum = -0.1}), "momentum"));
  EXPECT_TRUE(says(refused({.percentile = 50}), "percentile"));
  EXPECT_TRUE(says(refused({.percentile = 100.5}), "percentile"));
}

// Every point that a forward pass calls, in the order of the first call.
class Points : public ForwardObserver {
 public:
  bool has_points() const override { return true; }
  at::Tensor point(const std::string& name, const at::Tensor& value) override {
    names.insert(name);
    return value;
  }
  std::set<std::string> names;
};

std::set<std::string> range_names(const QuantizedModel& model) {
  std::set<std::string> names;
  for (const auto& [name, range] : model.ranges()) names.insert(name);
  return names;
}

TEST(QuantizedModelTest, ExactlyThePointsOfTheSetHaveRanges) {
  auto gated = routed(Routing::kProjected, Normalizer::kSoftmax1, Coupling::Kind::kLearned);
  gated.gate = true;
  const auto block = routed(Routing::kBlock, Normalizer::kSoftmax, Coupling::Kind::kNone);
  for (const auto& method : {MethodSpec{}, gated, block}) {
    const auto model = small_model(small_config(method));
    Points recorder;
    model.forward(some_tokens(2, 6), &recorder);
    for (const auto points : {QuantizationPoints::kPublished, QuantizationPoints::kAllInputs}) {
      QuantizedModel quantized(model, {.points = points});
      quantized.calibrate(some_tokens(2, 6));
      std::set<std::string> expected;
      for (const auto& name : recorder.names) {
        if (is_quantization_point(name, points)) expected.insert(name);
      }
      EXPECT_EQ(range_names(quantized), expected);
      // Seven projections, scores, probabilities, context and two hidden states a layer, and the
      // routers' two projections each in the projected form.
      const size_t routers = method.routing == Routing::kProjected ? 4 : 0;
      if (points == QuantizationPoints::kPublished) {
        EXPECT_EQ(expected.size(), 2 * (12 + routers));
      } else {
        EXPECT_EQ(expected.size(), 2 * (15 + routers + (method.gate ? 1 : 0)) + 2);
      }
    }
  }
}

// The embedding's values are known, and its quantizer is the first that a pass meets.
TEST(QuantizedModelTest, RangesFollowTheRunningRule) {
  auto model = small_model(small_config());
  const auto embedding = model.embed_tokens();
  embedding.zero_();
  embedding[0][3] = 2.0;
  embedding[1][0] = -1.0;
  embedding[2][5] = 6.0;
  embedding[2][6] = -3.0;
  embedding[3][1] = 4.0;  // the largest weight is 6: an 8-bit step is 6/127
  const auto stored = [](double value) { return std::nearbyint(value / (6.0 / 127)) * 6.0 / 127; };
  QuantizedModel quantized(
      model, {.points = QuantizationPoints::kAllInputs, .momentum = 0.75, .percentile = 100});
  const auto range = [&] { return quantized.ranges().at("model.embed_tokens"); };
  quantized.calibrate(at::tensor({0, 1, 0}, at::kLong).view({1, 3}));
  EXPECT_NEAR(range().first, stored(-1), 1e-12);
  EXPECT_NEAR(range().second, stored(2), 1e-12);
  quantized.calibrate(at::tensor({2, 4}, at::kLong).view({1, 2}));
  EXPECT_NEAR(range().first, 0.75 * stored(-1) + 0.25 * stored(-3), 1e-12);
  EXPECT_NEAR(range().second, 0.75 * stored(2) + 0.25 * 6, 1e-12);
  // The third batch has no negative value: the range is the running one, zero not forced in.
  quantized.calibrate(at::tensor({3}, at::kLong).view({1, 1}));
  EXPECT_NEAR(range().first, 0.75 * (0.75 * stored(-1) + 0.25 * stored(-3)), 1e-12);
  EXPECT_NEAR(range().second, 0.75 * (0.75 * stored(2) + 0.25 * 6) + 0.25 * stored(4), 1e-12);
}

TEST(QuantizedModelTest, PercentilesInterpolateBetweenValues) {
  auto model = small_model(small_config());
  // One token's row of 12 values 0, 1, …, 11; 16-bit weights hold them to 11/32767.
  model.embed_tokens().select(0, 7).copy_(at::arange(12, at::TensorOptions(at::kDouble)));
  QuantizedModel quantized(
      model, {.weight_bits = 16, .points = QuantizationPoints::kAllInputs, .percentile = 95});
  quantized.calibrate(at::tensor({7}, at::kLong).view({1, 1}));
  const auto [lo, hi] = quantized.ranges().at("model.embed_tokens");
  EXPECT_NEAR(lo, 0.05 * 11, 2 * 11.0 / 32767);
  EXPECT_NEAR(hi, 0.95 * 11, 2 * 11.0 / 32767);
}

TEST(QuantizedModelTest, WeightsOfTheEmbeddingAndProjectionsAlone) {
  auto method = routed(Routing::kProjected, Normalizer::kSoftmax1, Coupling::Kind::kLearned);
  method.gate = true;
  auto config = small_config(method);
  config.attention_bias = true;
  config.qk_norm = true;
  const auto model = small_model(config);
  const QuantizedModel quantized(model, {.weight_bits = 4});
  std::map<std::string, at::Tensor> found(quantized.model().parameters().begin(),
                                          quantized.model().parameters().end());
  for (const auto& [name, weight] : model.parameters()) {
    const bool projection = name.ends_with("_proj.weight") || name == "model.embed_tokens.weight";
    EXPECT_EQ(at::equal(found.at(name), weight), !projection) << name;
    if (projection) {
      const double step = weight.abs().max().item<double>() / 7;
      const auto levels = found.at(name) / step;
      EXPECT_LE((levels - levels.round()).abs().max().item<double>(), 1e-9) << name;
      EXPECT_LE((found.at(name) - weight).abs().max().item<double>(), step / 2 + 1e-12) << name;
    }
  }
}

TEST(QuantizedModelTest, TheHeadStaysFloatEvenWhenTied) {
  for (const bool tied : {true, false}) {
    auto config = small_config();
    config.tie_word_embeddings = tied;
    const auto model = small_model(config);
    const QuantizedModel quantized(model, {.weight_bits = 3});
    EXPECT_FALSE(at::equal(quantized.model().embed_tokens(), model.embed_tokens()));
    EXPECT_TRUE(at::equal(quantized.model().head_weight(), model.head_weight()));
    const auto hidden = model.forward(some_tokens(1, 4));
    EXPECT_TRUE(at::equal(quantized.model().logits(hidden), model.logits(hidden)));
  }
}

TEST(QuantizedModelTest, CalibrationComesFirst) {
  QuantizedModel quantized(small_model(small_config()), {});
  EXPECT_THROW(quantized.observer(), Error);
  quantized.calibrate(some_tokens(1, 5));
  EXPECT_NO_THROW(quantized.observer());
}

TEST(QuantizedModelTest, MoreBitsComeCloserToTheModel) {
  const auto model = small_model(
      small_config(routed(Routing::kProjected, Normalizer::kSoftmax1, Coupling::Kind::kLearned)));
  const auto tokens = some_tokens(3, 8);
  const auto exact = model.logits(model.forward(tokens));
  double last = 10;
  for (const int bits : {4, 8, 16}) {
    QuantizedModel quantized(model, {.weight_bits = bits,
                                     .activation_bits = bits,
                                     .points = QuantizationPoints::kAllInputs,
                                     .percentile = 100});
    quantized.calibrate(tokens);
    const auto ranges = quantized.ranges();
    const auto logits =
        quantized.model().logits(quantized.model().forward(tokens, &quantized.observer()));
    EXPECT_EQ(ranges, quantized.ranges());  // evaluation changes no range
    const double error = relative_error(logits, exact);
    EXPECT_LT(error, last / 4) << bits;
    last = error;
  }
  EXPECT_LT(last, 1e-2);
}

TEST(QuantizedModelTest, ValuesThatAreNotFiniteAreNamed) {
  auto model = small_model(small_config());
  model.layers()[0].input_layernorm[0] = std::nan("");
  QuantizedModel quantized(model, {});
  try {
    quantized.calibrate(some_tokens(1, 4));
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Error::Kind::kFailed);
    EXPECT_TRUE(says(error.what(), "model.layers.0.self_attn.q_proj", "not finite"));
  }
}

TEST(QuantizedModelTest, ActivationsPerTokenDoNotSeeWhatComesLater) {
  for (const auto points : {QuantizationPoints::kPublished, QuantizationPoints::kAllInputs}) {
    const auto model = small_model(small_config());
    QuantizedModel quantized(model, {.weight_bits = 4,
                                     .activation_bits = 4,
                                     .points = points,
                                     .activations = ActivationRange::kPerToken});
    const at::NoGradGuard no_grad;
    const auto tokens = some_tokens(2, 9);
    const auto whole = quantized.model().forward(tokens, &quantized.observer());
    const auto start = quantized.model().forward(tokens.narrow(1, 0, 5), &quantized.observer());
    EXPECT_LE(relative_error(start, whole.narrow(1, 0, 5)), 1e-12);
    EXPECT_GT(relative_error(model.forward(tokens), whole), 1e-3);
  }
}

}  // namespace
}  // namespace oasis
