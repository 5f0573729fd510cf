#include "results/statistics/comparisons.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "results/test_support.h"

namespace oasis {
namespace {

void write_perplexities(Store& store, std::int64_t run, std::int64_t suite,
                        const std::string& method, const std::vector<double>& by_seed) {
  for (std::size_t seed = 0; seed < by_seed.size(); ++seed) {
    const auto cell =
        store.add_cell(sample_cell(suite, method, static_cast<std::int64_t>(seed) + 1));
    const auto stage = store.plan_stage(
        cell, sample_stage(method + std::to_string(seed), "evaluate", "wikitext-2"));
    ASSERT_TRUE(store.begin_stage(stage.id, run, "cpu", "float32"));
    store.finish_stage(stage.id, {.metrics = {{.name = "perplexity",
                                               .value = by_seed[seed],
                                               .unit = "1",
                                               .n = static_cast<std::int64_t>(1000 + seed)}}});
  }
}

TEST(Comparisons, ArePairedBySeedAndCorrectedInsideATable) {
  const TemporaryFolder folder;
  auto store = Store::open(folder / "r.db", Store::Mode::kCreate);
  const auto run = store.begin_run({.machine = "host"});
  const auto suite = store.add_suite("sample", "{}");
  // Seeds differ by far more than methods within a seed.
  write_perplexities(store, run, suite, "attnres", {100, 200, 400, 800, 1600});
  write_perplexities(store, run, suite, "oasis", {99, 196, 396, 784, 1584});
  write_perplexities(store, run, suite, "softmax1", {101, 198, 404, 792, 1616});
  write_perplexities(store, run, suite, "sparsemax", {110});
  const auto rows = comparisons(store, suite);
  ASSERT_EQ(rows.size(), 3U);
  const auto& oasis = rows[0];
  EXPECT_EQ(oasis.method, "oasis");
  EXPECT_EQ(oasis.setting, "full precision");
  EXPECT_NEAR(oasis.effect, -1.4, 1e-12);  // −1, −2, −1, −2, −1 %
  EXPECT_TRUE(oasis.distinguishable());
  EXPECT_GE(oasis.interval->low, -2);
  EXPECT_LE(oasis.interval->high, -1);
  EXPECT_DOUBLE_EQ(*oasis.p, 2.0 / 32);
  EXPECT_DOUBLE_EQ(*oasis.adjusted_p, 4.0 / 32);  // of two with a p
  EXPECT_EQ(oasis.n, 1000);
  EXPECT_EQ(rows[1].method, "softmax1");
  EXPECT_FALSE(rows[1].distinguishable());
  EXPECT_GT(*rows[1].adjusted_p, *oasis.adjusted_p);
  EXPECT_EQ(rows[2].method, "sparsemax");
  EXPECT_EQ(rows[2].effects.size(), 1U);
  EXPECT_FALSE(rows[2].interval);
  EXPECT_FALSE(rows[2].p);
  EXPECT_FALSE(rows[2].distinguishable());
}

TEST(Comparisons, AblationsAreSetBesideOasis) {
  const TemporaryFolder folder;
  auto store = Store::open(folder / "r.db", Store::Mode::kCreate);
  const auto run = store.begin_run({.machine = "host"});
  const auto suite = store.add_suite("sample", "{}");
  write_perplexities(store, run, suite, "attnres", {50, 60, 70});
  write_perplexities(store, run, suite, "oasis", {100, 200, 400});
  write_perplexities(store, run, suite, "oasis_no_coupling", {101, 204, 412});
  const auto rows = ablations(store, suite);
  ASSERT_EQ(rows.size(), 1U);  // baselines are in the other table
  EXPECT_EQ(rows[0].method, "oasis_no_coupling");
  EXPECT_NEAR(rows[0].effect, 2, 1e-12);  // +1, +2, +3 %
  EXPECT_TRUE(rows[0].distinguishable());
  ASSERT_EQ(comparisons(store, suite).size(), 2U);
  EXPECT_EQ(comparisons(store, suite)[0].method, "oasis");
}

TEST(Comparisons, OfAnswersCountWhatWasGainedAndLost) {
  const TemporaryFolder folder;
  auto store = Store::open(folder / "r.db", Store::Mode::kCreate);
  const auto run = store.begin_run({.machine = "host"});
  const auto suite = store.add_suite("sample", "{}");
  const auto answer = [&](const std::string& method, bool quantized, const std::string& right) {
    const auto cell = store.add_cell(sample_cell(suite, method, 1));
    auto spec = sample_stage(method + (quantized ? "4" : "full"), "generate", "gsm8k");
    if (quantized) {
      spec.weight_bits = spec.activation_bits = 4;
      spec.points = "published";
    }
    const auto stage = store.plan_stage(cell, spec);
    ASSERT_TRUE(store.begin_stage(stage.id, run, "cpu", "float32"));
    std::vector<GenerationRow> texts;
    std::vector<GenerationScore> scores;
    for (std::size_t i = 0; i < right.size(); ++i) {
      const auto problem = static_cast<std::int64_t>(i);
      texts.push_back({problem, "1", "#### 1", 4});
      scores.push_back({problem, "strict", "1", right[i] == '1'});
    }
    store.add_generations(stage.id, texts);
    store.finish_stage(stage.id, {.metrics = {{.name = "gsm8k_pass1_strict",
                                               .value = 0.5,
                                               .unit = "1",
                                               .n = std::ssize(right)}},
                                  .generation_scores = scores});
  };
  answer("attnres", false, "11000000");
  answer("oasis", false, "01111110");
  answer("oasis", true, "01000000");
  const auto pairs = answer_pairs(store, suite);
  ASSERT_EQ(pairs.size(), 2U);
  EXPECT_EQ(pairs[0].beside, "attnres");
  EXPECT_EQ(pairs[0].gained, 5);
  EXPECT_EQ(pairs[0].lost, 1);
  EXPECT_EQ(pairs[0].n, 8);
  EXPECT_NEAR(pairs[0].p, 14.0 / 64, 1e-14);
  EXPECT_EQ(pairs[1].beside, "full precision");
  EXPECT_EQ(pairs[1].setting, "W4A4 published");
  EXPECT_EQ(pairs[1].gained, 0);
  EXPECT_EQ(pairs[1].lost, 5);
  EXPECT_NEAR(pairs[1].p, 2.0 / 32, 1e-14);
  EXPECT_NEAR(pairs[1].adjusted_p, 4.0 / 32, 1e-14);
  EXPECT_NEAR(pairs[0].adjusted_p, 14.0 / 64, 1e-14);
}

}  // namespace
}  // namespace oasis
