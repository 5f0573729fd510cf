// A seventh method, added as docs/adding-a-method.md says, exists and trains.
#include <ATen/ops/randint.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "baselines/method_config.h"
#include "baselines/registry.h"
#include "models/initialization.h"
#include "models/trainer.h"

namespace oasis {
namespace {

TEST(AddingAMethod, TheSeventhTrainsAStep) {
  const nlohmann::json json = {
      {"vocab_size", 11},        {"hidden_size", 16},
      {"num_hidden_layers", 2},  {"num_attention_heads", 2},
      {"intermediate_size", 24}, {"oasis", {{"method", "gated_softmax1"}}}};
  const auto config = parse_checkpoint_config(json, "test");
  EXPECT_EQ(config.method.token.kind, Normalizer::kSoftmax1);
  EXPECT_TRUE(config.method.gate);
  Decoder model(config, at::kFloat);
  initialize(model, {}, 7);
  TrainingOptions options;
  options.warmup_steps = 1;
  options.learning_rate = 1e-2;
  Trainer trainer(model, options);
  const auto tokens = at::randint(11, {2, 9}, at::kLong);
  const double before = trainer.step(tokens).loss;
  for (int i = 0; i < 9; ++i) trainer.step(tokens);
  EXPECT_LT(trainer.step(tokens).loss, before - 0.1);
}

TEST(AddingAMethod, TheOthersAreStillThere) {
  EXPECT_EQ(find_method("oasis").name, "oasis");
  EXPECT_EQ(methods().size(), 14U);
}

}  // namespace
}  // namespace oasis
