// What every method must be in every routing form: causal, blind to the rest of its batch, and the
// same with a key-value cache as without.
#include <ATen/ops/argmax.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "baselines/method_config.h"
#include "baselines/registry.h"
#include "models/generation/generator.h"
#include "models/generation/inference_weights.h"
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

// Prompts of odd lengths, prefilled in two passes and in other places than they were given in, then
// one position after the other, each held against the whole forward pass over its sequence.
TEST(MethodsTest, ACacheChangesNothing) {
  const std::vector<int64_t> prompt_lengths = {5, 1, 7}, places = {2, 0, 1};
  constexpr int64_t kNew = 6;
  const auto tokens = some_tokens(3, 7 + kNew);  // of the sequence in each place
  const auto length_at = [&](int64_t place) {
    for (size_t i = 0; i < places.size(); ++i) {
      if (places[i] == place) return prompt_lengths[i];
    }
    return int64_t{0};
  };
  for_every_method_and_form([&](const Decoder& wide) {
    for (const auto& [type, tolerance] :
         {std::pair(at::kDouble, 1e-12), std::pair(at::kFloat, 1e-4)}) {
      const auto model = inference_weights(wide, type, at::kCPU);
      std::vector<at::Tensor> expected;  // by place [T, V]
      for (int64_t b = 0; b < 3; ++b) {
        expected.push_back(
            logits(wide, tokens.narrow(0, b, 1).narrow(1, 0, length_at(b) + kNew))[0]);
      }
      const KeyValueCache cache(model.config(), 3, 7 + kNew, at::TensorOptions(type));
      const auto expect_logits = [&](const at::Tensor& hidden, int64_t b, int64_t position) {
        const auto found = model.logits(hidden).to(at::kDouble);
        EXPECT_LE((found - expected[static_cast<size_t>(b)][position]).abs().max().item<double>(),
                  tolerance)
            << "place " << b << " position " << position;
      };
      for (const auto& group : {std::vector<size_t>{0, 1}, std::vector<size_t>{2}}) {
        const int64_t longest = prompt_lengths[group[0]];
        auto padded = at::zeros({std::ssize(group), longest}, at::kLong);
        std::vector<int64_t> rows;
        for (size_t i = 0; i < group.size(); ++i) {
          rows.push_back(places[group[i]]);
          const int64_t n = prompt_lengths[group[i]];
          padded[static_cast<int64_t>(i)].narrow(0, 0, n).copy_(
              tokens[rows.back()].narrow(0, 0, n));
        }
        const auto hidden =
            model.forward(padded, CacheUse{.cache = cache, .rows = at::tensor(rows, at::kLong)});
        for (size_t i = 0; i < group.size(); ++i) {
          const int64_t last = prompt_lengths[group[i]] - 1;
          expect_logits(hidden[static_cast<int64_t>(i)][last], rows[i], last);
        }
      }
      for (int64_t step = 0; step < kNew; ++step) {
        auto positions = at::zeros({3}, at::kLong), next = at::zeros({3, 1}, at::kLong);
        for (int64_t b = 0; b < 3; ++b) {
          positions[b] = length_at(b) + step;
          next[b][0] = tokens[b][length_at(b) + step];
        }
        const auto hidden = model.forward(next, CacheUse{.cache = cache, .positions = positions});
        for (int64_t b = 0; b < 3; ++b) {
          expect_logits(hidden[b][0], b, length_at(b) + step);
        }
      }
    }
  });
}

// The tokens that repeated whole forward passes would choose, whatever the batch.
TEST(MethodsTest, GeneratedTokensAreThoseOfWholePasses) {
  const std::vector<Prompt> prompts = {{3, 1, 4, 1, 5}, {9}, {2, 6, 5, 3, 5, 8, 9, 7}, {9, 3}};
  constexpr int64_t kNew = 7;
  for_every_method_and_form([&](const Decoder& model) {
    std::vector<Prompt> expected;
    for (auto sequence : prompts) {
      const auto prompt_length = std::ssize(sequence);
      for (int64_t i = 0; i < kNew; ++i) {
        const std::vector<int64_t> ids(sequence.begin(), sequence.end());
        const auto row = logits(model, at::tensor(ids, at::kLong).unsqueeze(0))[0][-1];
        sequence.push_back(static_cast<uint32_t>(row.argmax().item<int64_t>()));
      }
      expected.emplace_back(sequence.begin() + prompt_length, sequence.end());
    }
    for (const int64_t batch : {1, 3, 4}) {
      std::vector<Prompt> found(prompts.size());
      Generator(model, {.max_new_tokens = kNew, .batch = batch, .prefill_tokens = 9})
          .generate(prompts, [&](size_t i, uint32_t token) {
            found[i].push_back(token);
            return true;
          });
      EXPECT_EQ(found, expected) << "batch " << batch;
    }
  });
}

TEST(MethodsTest, OneToken) {
  for_every_method_and_form([](const Decoder& model) {
    EXPECT_TRUE(logits(model, some_tokens(1, 1)).isfinite().all().item<bool>());
  });
}

}  // namespace
}  // namespace oasis
