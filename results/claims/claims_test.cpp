#include "results/claims/claims.h"

#include <SQLiteCpp/Database.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "results/bound_statement.h"
#include "results/test_support.h"

namespace oasis {
namespace {

TEST(Claims, EveryVerdict) {
  using V = ClaimVerdict;
  EXPECT_EQ(claim_verdict(true, -10.0, {}, {}), V::kNotRun);
  EXPECT_EQ(claim_verdict(true, -10.0, -9.0, {}), V::kNotDistinguishable);  // one seed
  EXPECT_EQ(claim_verdict(true, -10.0, -9.0, Interval{-20, 0.5}), V::kNotDistinguishable);
  EXPECT_EQ(claim_verdict(true, -10.0, -9.0, Interval{-20, 0}), V::kNotDistinguishable);
  EXPECT_EQ(claim_verdict(true, -10.0, 3.0, Interval{1, 5}), V::kContradicted);
  EXPECT_EQ(claim_verdict(false, 12.0, -3.0, Interval{-5, -1}), V::kContradicted);
  EXPECT_EQ(claim_verdict(true, -10.0, -3.0, Interval{-5, -1}), V::kSameDirection);
  EXPECT_EQ(claim_verdict(false, 12.0, 3.0, Interval{1, 5}), V::kSameDirection);
  EXPECT_EQ(claim_verdict(true, -10.0, -9.0, Interval{-12, -6}), V::kReproduced);
  EXPECT_EQ(claim_verdict(true, -10.0, -30.0, Interval{-40, -20}), V::kReproduced);
  EXPECT_EQ(claim_verdict(false, 12.0, 12.0, Interval{12, 12}), V::kReproduced);
  // Said in words only: the direction is all there is to reach.
  EXPECT_EQ(claim_verdict(true, {}, -1.0, Interval{-2, -0.1}), V::kReproduced);
  EXPECT_EQ(claim_verdict(false, {}, 1.0, Interval{0.1, 2}), V::kReproduced);
  EXPECT_EQ(claim_verdict(true, {}, 1.0, Interval{0.1, 2}), V::kContradicted);
  EXPECT_EQ(claim_verdict(true, {}, 0.0, Interval{-1, 1}), V::kNotDistinguishable);
  EXPECT_EQ(to_string(V::kSameDirection), "same direction");
}

TEST(Claims, TheDatabaseSaysWhatTheFileSays) {
  const TemporaryFolder folder;
  const auto store = Store::open(folder / "r.db", Store::Mode::kCreate);
  unsigned with_figure = 0;
  for (const auto& claim : paper_claims().claims) {
    if (!claim.value) continue;  // said in words: not in the table of the paper's figures
    ++with_figure;
    EXPECT_EQ(claim.less, *claim.value < 0) << claim.id;
    BoundStatement row(store.database(),
                       "SELECT text, value, unit, source FROM paper_claims WHERE id = ?");
    row.bind_all(claim.id);
    ASSERT_TRUE(row.step()) << claim.id;
    EXPECT_EQ(row.text(0), claim.text);
    EXPECT_EQ(row.real(1), claim.value);
    EXPECT_EQ(row.text(2), claim.unit);
    EXPECT_EQ(row.text(3), claim.source);
  }
  EXPECT_EQ(with_figure,
            store.database().execAndGet("SELECT count(*) FROM paper_claims").getUInt());
}

// Seeds 1 … n of a method with a perplexity under W8A8 on each data set.
void write_w8a8(Store& store, std::int64_t run, std::int64_t suite, const std::string& method,
                const std::vector<std::vector<double>>& by_dataset) {
  for (std::size_t seed = 0; seed < by_dataset[0].size(); ++seed) {
    const auto cell =
        store.add_cell(sample_cell(suite, method, static_cast<std::int64_t>(seed) + 1));
    for (std::size_t d = 0; d < by_dataset.size(); ++d) {
      if (seed >= by_dataset[d].size()) continue;
      const std::string dataset = "data" + std::to_string(d);
      auto spec = sample_stage(fmt::format("{}{}{}", method, seed, dataset), "quantized", dataset);
      spec.weight_bits = spec.activation_bits = 8;
      spec.points = "published";
      const auto stage = store.plan_stage(cell, spec);
      ASSERT_TRUE(store.begin_stage(stage.id, run, "cpu", "float32"));
      store.finish_stage(
          stage.id,
          {.metrics = {
               {.name = "perplexity", .value = by_dataset[d][seed], .unit = "1", .n = 4096}}});
    }
  }
}

TEST(Claims, EffectsArePairedBySeedAndAveragedOverSettings) {
  const TemporaryFolder folder;
  auto store = Store::open(folder / "r.db", Store::Mode::kCreate);
  const auto run = store.begin_run({.machine = "host"});
  const auto suite = store.add_suite("sample", "{}");
  write_w8a8(store, run, suite, "attnres", {{100, 200, 300, 400}, {10, 20, 30}});
  write_w8a8(store, run, suite, "oasis", {{50, 110, 120, 100}, {4, 9, 18}});
  const auto results = claim_results(store, suite);
  ASSERT_EQ(results.size(),
            paper_claims().claims.size());  // one line a claim: the other baselines were not run
  for (const auto& result : results) {
    if (result.claim.id != "perplexity_w8a8") {
      EXPECT_EQ(result.verdict, ClaimVerdict::kNotRun) << result.claim.id;
      EXPECT_FALSE(result.effect);
      continue;
    }
    // −50 and −60, −45 and −55, −60 and −40 %; the fourth seed lacks a data set.
    EXPECT_EQ(result.settings, 2);
    ASSERT_EQ(result.by_seed.size(), 3U);
    EXPECT_NEAR(result.by_seed[0], -55, 1e-10);
    EXPECT_NEAR(result.by_seed[1], -50, 1e-10);
    EXPECT_NEAR(result.by_seed[2], -50, 1e-10);
    EXPECT_NEAR(*result.effect, -155.0 / 3, 1e-10);
    EXPECT_EQ(result.least_n, 4096);
    EXPECT_EQ(result.verdict, ClaimVerdict::kSameDirection);
  }
}

TEST(Claims, TheMeanOfFiveBaselinesIsASecondReading) {
  const TemporaryFolder folder;
  auto store = Store::open(folder / "r.db", Store::Mode::kCreate);
  const auto run = store.begin_run({.machine = "host"});
  const auto suite = store.add_suite("sample", "{}");
  double perplexity = 100;
  for (const std::string method :
       {"attnres", "clipped_softmax", "gated_attention", "softmax1", "sparsemax"}) {
    write_w8a8(store, run, suite, method, {{perplexity, perplexity, perplexity}});
    perplexity += 50;  // mean 200
  }
  write_w8a8(store, run, suite, "oasis", {{40, 20, 30}});
  std::vector<ClaimResult> w8a8;
  for (const auto& result : claim_results(store, suite)) {
    if (result.claim.id == "perplexity_w8a8") w8a8.push_back(result);
  }
  ASSERT_EQ(w8a8.size(), 2U);
  EXPECT_EQ(w8a8[0].reading, "attnres");
  EXPECT_NEAR(*w8a8[0].effect, -70, 1e-10);  // −60, −80, −70: reaches −75.85
  EXPECT_EQ(w8a8[0].verdict, ClaimVerdict::kReproduced);
  EXPECT_EQ(w8a8[1].reading, "five baselines");
  EXPECT_NEAR(*w8a8[1].effect, -85, 1e-10);
}

TEST(Claims, InWordsAreAnsweredBesideTheMethodTheyName) {
  const TemporaryFolder folder;
  auto store = Store::open(folder / "r.db", Store::Mode::kCreate);
  const auto run = store.begin_run({.machine = "host"});
  const auto suite = store.add_suite("sample", "{}");
  write_w8a8(store, run, suite, "prenorm", {{100, 200, 300}});
  write_w8a8(store, run, suite, "attnres", {{110, 230, 360}});
  write_w8a8(store, run, suite, "oasis_no_coupling", {{50, 100, 150}});
  write_w8a8(store, run, suite, "oasis", {{55, 120, 165}});
  int found = 0;
  for (const auto& result : claim_results(store, suite)) {
    if (result.claim.id == "depth_softmax_w8a8") {
      EXPECT_EQ(result.reading, "prenorm");
      EXPECT_NEAR(*result.effect, 15, 1e-10);  // +10, +15, +20 %
      EXPECT_EQ(result.verdict, ClaimVerdict::kReproduced);
      ++found;
    } else if (result.claim.id == "coupling_w8a8") {
      EXPECT_EQ(result.reading, "oasis_no_coupling");
      EXPECT_NEAR(*result.effect, 40.0 / 3, 1e-10);  // +10, +20, +10 %
      EXPECT_EQ(result.verdict, ClaimVerdict::kContradicted);
      ++found;
    } else if (result.claim.id != "perplexity_w8a8") {
      EXPECT_EQ(result.verdict, ClaimVerdict::kNotRun) << result.claim.id;
      EXPECT_EQ(result.reading, result.claim.beside);
    }
  }
  EXPECT_EQ(found, 2);
}

}  // namespace
}  // namespace oasis
