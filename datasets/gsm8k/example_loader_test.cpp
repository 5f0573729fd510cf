#include "datasets/gsm8k/example_loader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "datasets/test_support.h"

namespace oasis::gsm8k {
namespace {

constexpr std::uint32_t kPadding = 99;

// Prompt of i + 1 tokens 10i, 10i + 1, …, then an answer of two tokens.
std::vector<TrainingExample> some_examples(std::uint32_t count) {
  std::vector<TrainingExample> examples(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    for (std::uint32_t t = 0; t < i + 3; ++t) examples[i].tokens.push_back(10 * i + t);
    examples[i].answer_begin = i + 1;
  }
  return examples;
}

TEST(ExampleLoader, TargetsAreTheAnswersNextTokensAndPaddingIsBehind) {
  const ExampleLoader loader(some_examples(1), 8, 0, kPadding);
  const auto batch = loader.batch(0, 1, 5);
  EXPECT_EQ(batch.tokens, (std::vector<std::int64_t>{0, 1, 2, 99, 99}));
  EXPECT_EQ(batch.targets, (std::vector<std::int64_t>{1, 2, -100, -100, -100}));
  EXPECT_EQ(batch.example_tokens, 3);
}

TEST(ExampleLoader, EveryEpochHoldsEachExampleOnceInAnotherOrder) {
  const ExampleLoader loader(some_examples(9), 20, 7, kPadding);
  std::vector<std::vector<std::int64_t>> orders;
  for (std::uint64_t epoch = 0; epoch < 3; ++epoch) {
    const auto batch = loader.batch(epoch, 9);
    EXPECT_EQ(batch.length, 11);
    std::vector<std::int64_t> firsts;
    for (std::int64_t row = 0; row < 9; ++row) {
      firsts.push_back(batch.tokens[static_cast<std::size_t>(row * batch.length)]);
    }
    EXPECT_EQ(std::set(firsts.begin(), firsts.end()).size(), 9u);
    orders.push_back(firsts);
  }
  EXPECT_NE(orders[0], orders[1]);
  EXPECT_NE(orders[1], orders[2]);
  const ExampleLoader other(some_examples(9), 20, 8, kPadding);
  EXPECT_NE(other.batch(0, 9).tokens, loader.batch(0, 9).tokens);
}

TEST(ExampleLoader, TheStreamDependsNeitherOnTheBatchNorOnWhatWasAskedBefore) {
  const ExampleLoader loader(some_examples(5), 20, 3, kPadding), again(some_examples(5), 20, 3, 99);
  std::vector<std::int64_t> by_one;
  for (std::uint64_t k = 0; k < 12; ++k) by_one.push_back(loader.batch(k, 1).tokens[0]);
  for (const std::uint64_t step : {3, 0, 2, 1}) {  // from the middle, as after a resume
    const auto batch = again.batch(step, 3);
    for (std::uint64_t row = 0; row < 3; ++row) {
      EXPECT_EQ(batch.tokens[row * static_cast<std::uint64_t>(batch.length)],
                by_one[3 * step + row]);
    }
  }
  std::int64_t tokens = 0;
  for (std::int64_t step = 0; step < 4; ++step) {
    EXPECT_EQ(again.tokens_until(step, 3), tokens);
    tokens += again.batch(static_cast<std::uint64_t>(step), 3).example_tokens;
  }
}

TEST(ExampleLoader, ALongExampleLosesTheLeftOfItsQuestion) {
  const ExampleLoader loader(some_examples(6), 4, 0, kPadding);
  EXPECT_EQ(loader.cut(), 4);
  EXPECT_EQ(loader.longest(), 4);
  for (std::uint64_t k = 0; k < 6; ++k) {
    const auto batch = loader.batch(k, 1, 4);
    const auto last = batch.example_tokens - 1;  // place of the last token
    const auto i = batch.tokens[static_cast<std::size_t>(last)] / 10;
    EXPECT_EQ(batch.tokens[static_cast<std::size_t>(last)], 10 * i + i + 2);
    EXPECT_EQ(std::ranges::count_if(batch.targets, [](auto t) { return t >= 0; }), 2);
    EXPECT_EQ(batch.targets[static_cast<std::size_t>(last - 1)], 10 * i + i + 2);
  }
}

TEST(ExampleLoader, Refusals) {
  EXPECT_TRUE(
      contains(message_of([] { ExampleLoader({}, 8, 0, kPadding); }), "no example to fine-tune"));
  EXPECT_TRUE(contains(message_of([] { ExampleLoader(some_examples(3), 2, 0, kPadding); }),
                       "training problem 0: its answer has 2 tokens"));
}

}  // namespace
}  // namespace oasis::gsm8k
