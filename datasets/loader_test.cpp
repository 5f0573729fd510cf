#include "datasets/loader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "datasets/random.h"
#include "datasets/test_support.h"
#include "support/sha256.h"

namespace oasis {
namespace {

// Token i is i, so a block's first token tells where it comes from.
TokenSplitPtr counting_split(const TestFolder& folder, std::uint32_t tokens) {
  SplitInfo info;
  info.dataset = "count";
  info.split = "train";
  info.tokenizer_hash = sha256_hex("x");
  info.vocab_size = 1000;
  info.end_of_text = 999;
  info.shard_tokens = 64;
  SplitWriter writer(folder / "split", info);
  std::vector<std::uint32_t> ids(tokens);
  for (std::uint32_t i = 0; i < tokens; ++i) ids[i] = i;
  writer.append(ids);
  writer.finish();
  return std::make_shared<const TokenSplit>(folder / "split");
}

TEST(BlockLoader, TheStreamDoesNotDependOnTheBatchSize) {
  TestFolder folder;
  const BlockLoader loader(counting_split(folder, 107), 10, 7);
  ASSERT_EQ(loader.blocks(), 10);
  const auto stream = loader.samples(0, 60);
  for (const std::int64_t batch_size : {1, 2, 3, 4, 5, 12}) {
    std::vector<std::int64_t> joined;
    for (std::uint64_t step = 0; step < 60u / static_cast<std::uint64_t>(batch_size); ++step) {
      const auto batch = loader.batch(step, batch_size);
      joined.insert(joined.end(), batch.begin(), batch.end());
    }
    EXPECT_EQ(joined, stream) << batch_size;
  }
}

TEST(BlockLoader, AnyStepCanBeAskedForFirst) {
  TestFolder folder;
  const auto split = counting_split(folder, 107);
  const BlockLoader straight(split, 10, 7);
  straight.samples(0, 40);
  for (const std::uint64_t step : {13u, 2u, 29u, 0u}) {
    EXPECT_EQ(BlockLoader(split, 10, 7).batch(step, 3), straight.batch(step, 3)) << step;
  }
}

TEST(BlockLoader, EachEpochTakesEachBlockOnceInAnOrderOfItsOwn) {
  TestFolder folder;
  const BlockLoader loader(counting_split(folder, 999), 9, 3);
  std::vector<std::vector<std::int64_t>> orders;
  for (std::uint64_t epoch = 0; epoch < 3; ++epoch) {
    std::vector<std::int64_t> order;
    for (std::uint64_t i = 0; i < 111; ++i) order.push_back(loader.block_of(epoch * 111 + i));
    EXPECT_EQ(std::set(order.begin(), order.end()).size(), 111u);
    orders.push_back(std::move(order));
  }
  EXPECT_NE(orders[0], orders[1]);
  EXPECT_NE(orders[1], orders[2]);
}

TEST(BlockLoader, BlocksAreRunsOfTheSplitAndTheRemainderIsDropped) {
  TestFolder folder;
  const auto split = counting_split(folder, 107);
  const BlockLoader shuffled(split, 10, 7);
  const auto tokens = shuffled.samples(0, 10);
  for (std::size_t i = 0; i < 10; ++i) {
    EXPECT_EQ(tokens[i * 10] % 10, 0);
    for (std::size_t j = 1; j < 10; ++j) EXPECT_EQ(tokens[i * 10 + j], tokens[i * 10] + int(j));
  }
  EXPECT_LT(*std::max_element(tokens.begin(), tokens.end()), 100);
  const BlockLoader sequential(split, 10, 7, BlockLoader::Order::kSequential);
  EXPECT_EQ(sequential.block_of(3), 3);
  EXPECT_EQ(sequential.block_of(10), 0);
}

TEST(BlockLoader, ABlockLongerThanTheDataNamesSplitTokensAndLength) {
  TestFolder folder;
  const auto split = counting_split(folder, 107);
  EXPECT_EQ(BlockLoader(split, 107, 1).blocks(), 1);
  const auto message = message_of([&split] { BlockLoader(split, 108, 1); });
  EXPECT_TRUE(contains(message, "split 'train' of data set 'count' has 107 tokens"));
  EXPECT_TRUE(contains(message, "108"));
  message_of([&split] { BlockLoader(split, 0, 1); });
}

// Golden: recorded from this implementation, so that an order never changes unnoticed (a run that
// resumes depends on it).
TEST(Random, GoldenPermutationAndDraws) {
  EXPECT_EQ(permutation(8, 1, 0), (std::vector<std::uint32_t>{5, 6, 3, 4, 0, 1, 2, 7}));
  EXPECT_EQ(permutation(8, 1, 1), (std::vector<std::uint32_t>{6, 5, 1, 0, 2, 4, 7, 3}));
  Random random(42, 7);
  EXPECT_EQ(random.next(), 9272506402319857057u);
}

TEST(Random, BelowIsUniform) {
  Random random(5);
  std::vector<int> counts(7);
  for (int i = 0; i < 70'000; ++i) ++counts[random.below(7)];
  // Standard deviation of a count: sqrt(70000 · 1/7 · 6/7) = 93.
  for (const int count : counts) EXPECT_NEAR(count, 10'000, 5 * 93);
  EXPECT_EQ(random.below(1), 0u);
}

TEST(Random, FisherYatesIsUniform) {
  std::vector<int> counts(6);  // of the 3! permutations
  for (std::uint64_t seed = 0; seed < 12'000; ++seed) {
    const auto order = permutation(3, seed, 0);
    ++counts[order[0] * 2 + (order[1] > order[2] ? 1 : 0)];
  }
  for (const int count : counts) EXPECT_NEAR(count, 2'000, 5 * 41);
}

}  // namespace
}  // namespace oasis
