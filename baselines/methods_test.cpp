// What every method must be in every routing form: causal, and blind to the rest of its batch.
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "baselines/method_config.h"
#include "baselines/registry.h"
#include "models/model_testing.h"

namespace oasis {
namespace {

using namespace testing_support;
using nlohmann::json;

void for_every_method_and_form(const std::function<void(const Decoder&)>& check) {
  for (const auto& method : methods()) {
    for (const char* form : {"none", "projected", "pseudo_query", "block"}) {
      if ((std::string(form) == "none") == method.is_routed()) continue;
      SCOPED_TRACE(testing::Message() << method.name << " " << form);
      json object = {{"method", method.name}, {"routing", form}, {"router_size", 8}};
      if (std::string(form) == "block") object["block_count"] = 2;
      if (method.token == Normalizer::kClippedSoftmax) object["clip_gamma"] = -0.2;
      auto model = small_model(small_config(resolve_method(object, 12, "test")));
      // Queries start at zero; here they have a say.
      for (const auto& [name, parameter] : model.parameters()) {
        if (name.ends_with(".query")) parameter.copy_(at::arange(12) * 0.1 - 0.5);
      }
      check(model);
    }
  }
}

at::Tensor logits(const Decoder& model, const at::Tensor& tokens) {
  return model.logits(model.forward(tokens));
}

TEST(MethodsTest, LaterTokensDoNotReachEarlierPositions) {
  constexpr int64_t kLength = 9, kPrefix = 5;
  const auto tokens = some_tokens(2, kLength);
  auto other = tokens.clone();
  other.narrow(1, kPrefix, kLength - kPrefix)
      .copy_(some_tokens(2, kLength - kPrefix) + 1)
      .remainder_(19);
  ASSERT_FALSE(at::equal(tokens, other));
  for_every_method_and_form([&](const Decoder& model) {
    const auto whole = logits(model, tokens);
    const auto prefix = whole.narrow(1, 0, kPrefix);
    const auto changed = logits(model, other);
    EXPECT_TRUE(at::equal(changed.narrow(1, 0, kPrefix), prefix));
    EXPECT_FALSE(at::equal(changed.select(1, kPrefix), whole.select(1, kPrefix)));
    EXPECT_LE(relative_error(logits(model, tokens.narrow(1, 0, kPrefix)), prefix), 1e-13);
  });
}

TEST(MethodsTest, EarlierTokensReachLaterPositions) {
  const auto tokens = some_tokens(1, 6);
  auto other = tokens.clone();
  other[0][1] = (other[0][1] + 1).remainder(19);
  for_every_method_and_form([&](const Decoder& model) {
    const auto difference = (logits(model, tokens) - logits(model, other)).abs().amax(-1)[0];
    EXPECT_EQ(difference[0].item<double>(), 0.0);
    EXPECT_GT(difference[1].item<double>(), 1e-9);
    // Not at each position: sparse attention may leave a key out.
    EXPECT_GT(difference.narrow(0, 2, 4).max().item<double>(), 1e-9);
  });
}

TEST(MethodsTest, ASequenceDoesNotDependOnItsBatch) {
  const auto tokens = some_tokens(3, 7);
  for_every_method_and_form([&](const Decoder& model) {
    const auto together = logits(model, tokens);
    for (int64_t b = 0; b < 3; ++b) {
      EXPECT_LE(relative_error(logits(model, tokens.narrow(0, b, 1)), together.narrow(0, b, 1)),
                1e-13);
    }
    auto other = tokens.clone();
    other.narrow(0, 1, 2).copy_(some_tokens(2, 7) + 3).remainder_(19);
    EXPECT_TRUE(at::equal(logits(model, other).select(0, 0), together.select(0, 0)));
  });
}

TEST(MethodsTest, OneToken) {
  for_every_method_and_form([](const Decoder& model) {
    EXPECT_TRUE(logits(model, some_tokens(1, 1)).isfinite().all().item<bool>());
  });
}

}  // namespace
}  // namespace oasis
