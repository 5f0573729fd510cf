#include "models/generation/generator.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <limits>

#include "models/generation/inference_weights.h"
#include "models/model_testing.h"
#include "models/quantization.h"

namespace oasis {
namespace {

using namespace testing_support;

const std::vector<Prompt> kPrompts = {{3, 1, 4}, {1, 5, 9, 2, 6, 5}, {3}, {5, 8}, {9, 7, 9, 3, 2}};

std::vector<Prompt> generated(const Decoder& model, const GenerationOptions& options,
                              ForwardObserver* observer = nullptr,
                              const std::vector<Prompt>& prompts = kPrompts) {
  std::vector<Prompt> found(prompts.size());
  Generator(model, options, observer).generate(prompts, [&](size_t i, uint32_t token) {
    found[i].push_back(token);
    return true;
  });
  return found;
}

Decoder oasis_model(at::ScalarType type = at::kDouble) {
  return small_model(
      small_config(routed(Routing::kProjected, Normalizer::kSoftmax1, Coupling::Kind::kLearned)),
      type);
}

TEST(GeneratorTest, SampledTextsDoNotDependOnTheBatch) {
  const auto model = oasis_model();
  GenerationOptions options{.sampling = {.temperature = 1.3, .top_k = 12, .top_p = 0.95, .seed = 4},
                            .max_new_tokens = 11};
  const auto alone = generated(model, options);
  for (const int64_t batch : {2, 5, 64}) {
    options.batch = batch;
    EXPECT_EQ(generated(model, options), alone) << "batch " << batch;
  }
  options.sampling.seed = 5;
  EXPECT_NE(generated(model, options), alone);
  // The same prompt twice is two draws.
  const auto twice = generated(model, options, nullptr, {kPrompts[0], kPrompts[0]});
  EXPECT_NE(twice[0], twice[1]);
}

// Sequences of every length end at every step of a batch, and others take their places.
TEST(GeneratorTest, ASequenceEndsWhenItsSinkSaysSo) {
  const auto model = oasis_model();
  const auto whole = generated(model, {.max_new_tokens = 9});
  for (const int64_t batch : {1, 2, 3, 5}) {
    std::vector<Prompt> found(kPrompts.size());
    Generator generator(model, {.max_new_tokens = 9, .batch = batch, .prefill_tokens = 7});
    generator.generate(kPrompts, [&](size_t i, uint32_t token) {
      found[i].push_back(token);
      return found[i].size() < 2 * i + 1;
    });
    EXPECT_EQ(generator.batch(), batch);
    for (size_t i = 0; i < found.size(); ++i) {
      ASSERT_EQ(found[i].size(), 2 * i + 1) << "batch " << batch;
      EXPECT_TRUE(std::equal(found[i].begin(), found[i].end(), whole[i].begin()));
    }
  }
}

TEST(GeneratorTest, OneNewTokenNeedsNoDecodeStep) {
  const auto model = oasis_model();
  Generator generator(model, {.max_new_tokens = 1, .batch = 2});
  std::vector<Prompt> found(kPrompts.size());
  generator.generate(kPrompts, [&](size_t i, uint32_t token) {
    found[i].push_back(token);
    return true;
  });
  EXPECT_EQ(generator.steps(), 0);
  EXPECT_EQ(found, generated(model, {.max_new_tokens = 1}));
  for (const auto& tokens : found) EXPECT_EQ(tokens.size(), 1U);
}

// The quantizers see a cached position as they see it in a whole pass.
TEST(GeneratorTest, QuantizedModels) {
  for (const auto form : {Routing::kNone, Routing::kProjected, Routing::kPseudoQuery}) {
    auto method = routed(form, Normalizer::kSoftmax1, Coupling::Kind::kLearned);
    if (form == Routing::kNone) {
      method = {};
      method.token.kind = Normalizer::kSparsemax;
    }
    const auto model = small_model(small_config(method));
    for (const auto range : {ActivationRange::kPercentile, ActivationRange::kPerToken}) {
      QuantizedModel quantized(model,
                               {.points = QuantizationPoints::kAllInputs, .activations = range});
      quantized.calibrate(some_tokens(3, 12));
      const auto found =
          generated(quantized.model(), {.max_new_tokens = 6, .batch = 3}, &quantized.observer());
      for (size_t p = 0; p < kPrompts.size(); ++p) {
        auto sequence = kPrompts[p];
        for (const auto token : found[p]) {
          const std::vector<int64_t> ids(sequence.begin(), sequence.end());
          const auto hidden = quantized.model().forward(at::tensor(ids, at::kLong).unsqueeze(0),
                                                        &quantized.observer());
          EXPECT_EQ(token, quantized.model().logits(hidden)[0][-1].argmax().item<int64_t>());
          sequence.push_back(token);
        }
      }
    }
  }
}

TEST(GeneratorTest, InferenceWeightsAreTheSameModel) {
  for (const bool tied : {false, true}) {
    auto config =
        small_config(routed(Routing::kBlock, Normalizer::kSoftmax, Coupling::Kind::kNone));
    config.tie_word_embeddings = tied;
    config.qk_norm = true;
    const auto model = small_model(config, at::kFloat);
    const auto fast = inference_weights(model, at::kFloat, at::kCPU);
    const auto tokens = some_tokens(2, 9);
    const at::NoGradGuard no_grad;
    EXPECT_LE(
        relative_error(fast.logits(fast.forward(tokens)), model.logits(model.forward(tokens))),
        1e-6);
    const auto& layer = fast.layers()[0];
    EXPECT_EQ(layer.k_proj.weight.storage_offset(), layer.q_proj.weight.numel());
    const auto half = inference_weights(model, at::kBFloat16, at::kCPU);
    EXPECT_EQ(half.embed_tokens().scalar_type(), at::kBFloat16);
    EXPECT_EQ(half.final_norm().scalar_type(), at::kFloat);
  }
}

// LongRoPE's long factors hold for a sequence that may become long, and not for its neighbours.
TEST(GeneratorTest, LongRopeGoesByEachSequence) {
  auto config = small_config();
  config.rope_scaling.kind = RopeScaling::Kind::kLongRope;
  config.rope_scaling.original_max_position_embeddings = 10;
  config.rope_scaling.short_factor = {1.0, 1.2};
  config.rope_scaling.long_factor = {2.0, 5.0};
  const auto model = small_model(config);
  const auto together = generated(model, {.max_new_tokens = 6, .batch = 8});
  for (size_t i = 0; i < kPrompts.size(); ++i) {
    EXPECT_EQ(generated(model, {.max_new_tokens = 6}, nullptr, {kPrompts[i]})[0], together[i]);
  }
}

TEST(GeneratorTest, BadInputIsNamed) {
  const auto model = oasis_model();
  EXPECT_TRUE(says(refusal([&] { generated(model, {}, nullptr, {{1}, {}}); }), "prompt 1"));
  EXPECT_TRUE(says(refusal([&] {
                     generated(model, {}, nullptr, {{1, 19}});
                   }),
                   "prompt 0", "token 19", "vocabulary of 19"));
  EXPECT_TRUE(says(refusal([&] { generated(model, {.batch = 0}); }), "batch = 0"));
  auto config = small_config();
  config.sliding_window = 8;
  const auto windowed = small_model(config);
  EXPECT_TRUE(says(refusal([&] { generated(windowed, {.max_new_tokens = 9}); }), "sliding_window"));
}

TEST(GeneratorTest, LogitsThatAreNoNumbersEndIt) {
  auto model = oasis_model();
  model.parameters().back().second.fill_(std::numeric_limits<double>::quiet_NaN());
  EXPECT_TRUE(says(refusal([&] { generated(model, {}); }), "not bad input", "not a number"));
}

}  // namespace
}  // namespace oasis
