#include "models/target_loss.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <vector>

#include "kernels/cross_entropy/linear_cross_entropy.h"
#include "models/model_testing.h"
#include "models/trainer.h"

namespace oasis {
namespace {

using namespace testing_support;

// Sequences of 9, 5 and 7 tokens of which the last 2, 4 and 1 are answers, padded to 9.
struct Batch {
  static constexpr int64_t kLength = 9, kPadding = 3;
  const std::vector<int64_t> lengths = {9, 5, 7}, answers = {2, 4, 1};
  at::Tensor source = some_tokens(3, kLength);
  at::Tensor tokens = at::full({3, kLength}, kPadding, at::kLong);
  at::Tensor targets = at::full({3, kLength}, kIgnoredTarget, at::kLong);

  Batch() {
    for (int64_t i = 0; i < 3; ++i) {
      const int64_t n = length(i), a = answer(i);
      tokens[i].narrow(0, 0, n).copy_(source[i].narrow(0, 0, n));
      targets[i].narrow(0, n - a - 1, a).copy_(source[i].narrow(0, n - a, a));
    }
  }
  int64_t length(int64_t i) const { return lengths[static_cast<size_t>(i)]; }
  int64_t answer(int64_t i) const { return answers[static_cast<size_t>(i)]; }

  // The same loss from each sequence alone, whole and without padding.
  at::Tensor one_by_one(const Decoder& model) const {
    std::vector<at::Tensor> losses;
    for (int64_t i = 0; i < 3; ++i) {
      const auto own = source.narrow(0, i, 1).narrow(1, 0, length(i));
      const auto log_p = model.logits(model.forward(own)).log_softmax(-1)[0];
      for (int64_t t = length(i) - answer(i); t < length(i); ++t) {
        losses.push_back(-log_p[t - 1][own[0][t].item<int64_t>()].view({1}));
      }
    }
    return at::cat(losses).mean();
  }
};

std::vector<MethodSpec> methods() {
  return {{},
          routed(Routing::kProjected, Normalizer::kSoftmax1, Coupling::Kind::kLearned),
          routed(Routing::kPseudoQuery, Normalizer::kSparsemax, Coupling::Kind::kNone),
          routed(Routing::kBlock, Normalizer::kSoftmax, Coupling::Kind::kNone)};
}

TEST(TargetLoss, IsThatOfEachSequenceAloneWithItsGradient) {
  const Batch batch;
  for (const auto& method : methods()) {
    auto model = small_model(small_config(method));
    model.set_requires_grad(true);
    const auto expected = batch.one_by_one(model);
    expected.backward();
    std::vector<at::Tensor> gradients;
    for (const auto& [name, parameter] : model.parameters()) {
      gradients.push_back(parameter.grad());
      parameter.mutable_grad() = at::Tensor();
    }
    const auto found = target_loss(model, batch.tokens, batch.targets);
    EXPECT_NEAR(found.item<double>(), expected.item<double>(), 1e-12);
    found.backward();
    for (size_t i = 0; i < gradients.size(); ++i) {
      const auto& [name, parameter] = model.parameters()[i];
      ASSERT_EQ(gradients[i].defined(), parameter.grad().defined()) << name;
      if (!gradients[i].defined() || gradients[i].norm().item<double>() < 1e-12) continue;
      EXPECT_LE(relative_error(parameter.grad(), gradients[i]), 1e-9) << name;
    }
  }
}

TEST(TargetLoss, TrainerTakesTheMeanOverAllTargetsWhateverTheMicroBatch) {
  const Batch batch;
  TrainingOptions options;
  options.steps = 10;
  options.warmup_steps = 0;
  auto whole = small_model(small_config());
  const double expected = batch.one_by_one(whole).item<double>();
  Trainer reference(whole, options);
  const auto all = reference.step(batch.tokens, batch.targets);
  EXPECT_NEAR(all.loss, expected, 1e-12);
  for (const int64_t micro_batch : {1, 2}) {
    auto model = small_model(small_config());
    options.micro_batch = micro_batch;
    Trainer trainer(model, options);
    const auto found = trainer.step(batch.tokens, batch.targets);
    EXPECT_NEAR(found.loss, expected, 1e-12);
    EXPECT_NEAR(found.gradient_norm, all.gradient_norm, 1e-12 * all.gradient_norm);
    for (size_t i = 0; i < model.parameters().size(); ++i) {
      const auto& [name, parameter] = model.parameters()[i];
      EXPECT_LE(relative_error(parameter.detach(), whole.parameters()[i].second.detach()), 1e-9)
          << name;
    }
    // From targets to next tokens and back: another loss, not the last one's leftovers.
    auto fresh = small_model(small_config());
    Trainer both(fresh, options);
    const double next_token = fresh.loss(batch.tokens).first.item<double>();
    EXPECT_NEAR(both.step(batch.tokens).loss, next_token, 1e-12);
    const double of_targets = batch.one_by_one(fresh).item<double>();
    EXPECT_NEAR(both.step(batch.tokens, batch.targets).loss, of_targets, 1e-12);
  }
}

}  // namespace
}  // namespace oasis
