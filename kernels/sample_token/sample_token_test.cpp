#include "kernels/sample_token/sample_token.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/bincount.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/log.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <limits>
#include <set>

#include "kernels/sample_token/philox.h"

namespace oasis {
namespace {

at::Tensor random_logits(int64_t B, int64_t V) {
  at::manual_seed(3);
  return at::randn({B, V}) * 3;
}

at::Tensor ids(int64_t count) {
  return at::arange(count, at::kLong);
}

// Many draws of one row: streams 0 … draws − 1.
at::Tensor draws_of(const at::Tensor& row, int64_t draws, const SamplingSpec& spec) {
  const auto logits = row.unsqueeze(0).expand({draws, row.size(0)});
  return sample_token(logits, ids(draws), at::zeros({draws}, at::kLong), spec);
}

std::set<int64_t> drawn(const at::Tensor& row, const SamplingSpec& spec) {
  const auto tokens = draws_of(row, 4000, spec);
  const auto* data = tokens.const_data_ptr<int64_t>();
  return {data, data + tokens.numel()};
}

// Known answers of the authors' Random123 (kat_vectors).
TEST(SampleTokenTest, PhiloxKnownAnswers) {
  EXPECT_EQ(philox({0, 0, 0, 0}, 0),
            (PhiloxBlock{0x6627e8d5U, 0xe169c58dU, 0xbc57ac4cU, 0x9b00dbd8U}));
  EXPECT_EQ(philox({0x243f6a88U, 0x85a308d3U, 0x13198a2eU, 0x03707344U}, 0x299f31d0a4093822U),
            (PhiloxBlock{0xd16cfe09U, 0x94fdccebU, 0x5001e420U, 0x24126ea1U}));
  EXPECT_GT(open_uniform(0), 0);
  EXPECT_LT(open_uniform(0xffffffffU), 1);
}

TEST(SampleTokenTest, GreedyIsTheFirstLargest) {
  auto logits = random_logits(7, 1003);
  const auto zeros = at::zeros({7}, at::kLong);
  EXPECT_TRUE(at::equal(sample_token(logits, zeros, zeros, {}), at::argmax(logits, 1)));
  logits.fill_(2);
  EXPECT_TRUE(at::equal(sample_token(logits, zeros, zeros, {}), zeros));
  EXPECT_TRUE(at::equal(sample_token(logits.to(at::kBFloat16), zeros, zeros, {}), zeros));
}

TEST(SampleTokenTest, NotANumberIsTold) {
  auto logits = random_logits(3, 50);
  logits[1][20] = std::numeric_limits<float>::quiet_NaN();
  logits[2][30] = std::numeric_limits<float>::infinity();
  logits[2][31] = -std::numeric_limits<float>::infinity();
  for (const double temperature : {0.0, 1.0}) {
    const auto tokens = sample_token(logits, ids(3), ids(3), {.temperature = temperature});
    EXPECT_GE(tokens[0].item<int64_t>(), 0);
    EXPECT_EQ(tokens[1].item<int64_t>(), -1);
    EXPECT_EQ(tokens[2].item<int64_t>(), 30);
  }
}

// χ² with 7 degrees of freedom exceeds 26.1 in one of 2,000 cases; the seed is fixed.
TEST(SampleTokenTest, DrawsFollowTheSoftmax) {
  const auto logits = at::log(at::tensor({0.30, 0.22, 0.15, 0.12, 0.09, 0.06, 0.04, 0.02}));
  for (const double temperature : {1.0, 2.0}) {
    const int64_t draws = 40000;
    const auto tokens = draws_of(logits, draws, {.temperature = temperature, .seed = 5});
    const auto expected = at::softmax(logits / temperature, 0) * static_cast<double>(draws);
    const auto counts = at::bincount(tokens, {}, 8).to(at::kDouble);
    const auto chi_squared = ((counts - expected).square() / expected).sum().item<double>();
    EXPECT_LT(chi_squared, 26.1) << "temperature " << temperature;
  }
}

TEST(SampleTokenTest, TopKAndTopPKeepTheLikeliest) {
  // Probabilities 0.4, 0.3, 0.2, 0.1 at ids 2, 0, 3, 1.
  const auto logits = at::log(at::tensor({0.3, 0.1, 0.4, 0.2}));
  using Ids = std::set<int64_t>;
  EXPECT_EQ(drawn(logits, {.temperature = 1}), (Ids{0, 1, 2, 3}));
  EXPECT_EQ(drawn(logits, {.temperature = 1, .top_k = 1}), (Ids{2}));
  EXPECT_EQ(drawn(logits, {.temperature = 1, .top_k = 3}), (Ids{0, 2, 3}));
  EXPECT_EQ(drawn(logits, {.temperature = 1, .top_k = 9}), (Ids{0, 1, 2, 3}));
  EXPECT_EQ(drawn(logits, {.temperature = 1, .top_p = 0.39}), (Ids{2}));
  EXPECT_EQ(drawn(logits, {.temperature = 1, .top_p = 0.41}), (Ids{0, 2}));
  EXPECT_EQ(drawn(logits, {.temperature = 1, .top_p = 0.85}), (Ids{0, 2, 3}));
  // Of the two that top_k leaves, 0.4 / 0.7 > 0.5.
  EXPECT_EQ(drawn(logits, {.temperature = 1, .top_k = 2, .top_p = 0.5}), (Ids{2}));
  EXPECT_EQ(drawn(logits, {.temperature = 1, .top_k = 2, .top_p = 0.6}), (Ids{0, 2}));
  // Equal ones stay together.
  EXPECT_EQ(drawn(at::tensor({1.0, 1.0, 1.0}), {.temperature = 1, .top_k = 1}), (Ids{0, 1, 2}));
}

// Against sorting all, over many values and thresholds.
TEST(SampleTokenTest, TopPOnALongRow) {
  const auto row = random_logits(1, 3000)[0].to(at::kDouble);
  const auto [sorted, order] = at::softmax(row, 0).sort(0, /*descending=*/true);
  const auto mass = sorted.cumsum(0);
  for (const double top_p : {0.3, 0.9, 0.999}) {
    const auto kept = (mass < top_p).sum().item<int64_t>() + 1;
    const auto tokens = draws_of(row, 300, {.temperature = 1, .top_p = top_p, .seed = 9});
    auto rank = at::empty_like(order);
    rank.scatter_(0, order, ids(3000));
    EXPECT_LT(rank.index_select(0, tokens).max().item<int64_t>(), kept);
  }
}

TEST(SampleTokenTest, ADrawIsTheSequencesOwn) {
  const auto logits = random_logits(6, 400);
  const SamplingSpec spec{.temperature = 0.8, .top_k = 50, .top_p = 0.9, .seed = 77};
  const auto streams = at::tensor({4, 9, 1, 1, 0, 7}, at::kLong);
  const auto positions = at::tensor({3, 3, 8, 9, 0, 1000}, at::kLong);
  const auto together = sample_token(logits, streams, positions, spec);
  for (int64_t b = 0; b < 6; ++b) {
    const auto alone = sample_token(logits.narrow(0, b, 1), streams.narrow(0, b, 1),
                                    positions.narrow(0, b, 1), spec);
    EXPECT_EQ(alone.item<int64_t>(), together[b].item<int64_t>());
  }
  // Seed, stream and position each change draws.
  const auto row = random_logits(1, 400).expand({200, 400});
  const auto same = at::zeros({200}, at::kLong);
  const auto base = sample_token(row, ids(200), same, {.temperature = 1, .seed = 1});
  EXPECT_FALSE(at::equal(base, sample_token(row, ids(200), same, {.temperature = 1, .seed = 2})));
  EXPECT_FALSE(at::equal(base, sample_token(row, same, same, {.temperature = 1, .seed = 1})));
  EXPECT_FALSE(
      at::equal(base, sample_token(row, ids(200), ids(200), {.temperature = 1, .seed = 1})));
}

TEST(SampleTokenTest, BadArgumentsAreRefused) {
  const auto logits = random_logits(2, 5);
  EXPECT_THROW(sample_token(logits, ids(2), ids(2), {.temperature = -1}), c10::Error);
  EXPECT_THROW(sample_token(logits, ids(2), ids(2), {.top_k = -1}), c10::Error);
  EXPECT_THROW(sample_token(logits, ids(2), ids(2), {.top_p = 0}), c10::Error);
  EXPECT_THROW(sample_token(logits, ids(3), ids(2), {}), c10::Error);
}

}  // namespace
}  // namespace oasis
