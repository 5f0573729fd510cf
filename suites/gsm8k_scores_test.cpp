#include "suites/gsm8k_scores.h"

#include <SQLiteCpp/Database.h>
#include <gtest/gtest.h>

#include "results/test_support.h"

namespace oasis {
namespace {

const std::vector<GenerationRow> kTexts = {{0, "18", "#### 18", 4},
                                           {1, "1,234", "It is $1,234.00", 9},
                                           {5, "-3", "#### -3. Question: #### 4", 12}};

class Rescore : public ::testing::Test {
 protected:
  // A finished stage with these texts and the scores that belong to them.
  void finish(const std::string& key, const std::vector<GenerationRow>& texts) {
    const auto run = store_.begin_run({.machine = "host"});
    const auto cell = store_.add_cell(sample_cell(store_.add_suite("s", "{}"), "oasis", ++cells_));
    const auto stage = store_.plan_stage(cell, sample_stage(key, "gsm8k", "gsm8k"));
    ASSERT_TRUE(store_.begin_stage(stage.id, run, "cpu", "float32"));
    store_.add_generations(stage.id, texts);
    auto scores = score_generations(texts);
    store_.finish_stage(stage.id, {.metrics = std::move(scores.metrics),
                                   .generation_scores = std::move(scores.scores)});
  }

  TemporaryFolder folder_;
  Store store_ = Store::open(folder_ / "r.db", Store::Mode::kCreate);
  std::int64_t cells_ = 0;
};

TEST(Gsm8kScores, EveryTextUnderEveryRule) {
  const auto result = score_generations(kTexts);
  ASSERT_EQ(result.scores.size(), 12U);
  EXPECT_EQ(result.scores[4].problem, 1);
  EXPECT_EQ(result.scores[4].rule, "strict");
  EXPECT_EQ(result.scores[4].extracted, std::nullopt);
  EXPECT_EQ(result.scores[7].rule, "numeric");
  EXPECT_EQ(result.scores[7].extracted, "$1,234.00");
  EXPECT_TRUE(result.scores[7].correct);
  ASSERT_EQ(result.metrics.size(), 4U);
  EXPECT_EQ(result.metrics[0].name, "gsm8k_pass1_strict");
  EXPECT_EQ(result.metrics[0].value, 2.0 / 3);
  EXPECT_EQ(result.metrics[0].n, 3);
  // scipy.stats.binomtest(2, 3).proportion_ci(method="wilson")
  EXPECT_NEAR(result.metrics[0].interval->low, 0.20765960080204776, 1e-14);
  EXPECT_NEAR(result.metrics[0].interval->high, 0.9385080552796038, 1e-14);
  EXPECT_EQ(result.metrics[2].value, 1.0 / 3);  // openai keeps the final point
  EXPECT_EQ(result.metrics[3].value, 1.0);
  EXPECT_EQ(score_generations({}).metrics[0].reason, "no problem was asked");
}

TEST_F(Rescore, ChangesNothingWhereScoresAreRight) {
  finish("aa", kTexts);
  finish("ab", {});  // no texts: not a stage to score
  const auto before = store_.comparable_contents();
  const auto reports = rescore(store_);
  ASSERT_EQ(reports.size(), 1U);
  EXPECT_EQ(reports[0].stage.spec.key, "aa");
  EXPECT_FALSE(reports[0].changed);
  EXPECT_EQ(reports[0].n, 3);
  EXPECT_EQ(store_.comparable_contents(), before);
}

TEST_F(Rescore, SaysWhatChangedOnce) {
  finish("aa", kTexts);
  const auto right = store_.comparable_contents();
  auto& database = store_.database();
  // As an earlier program might have left it: a wrong verdict each way, another answer found, a
  // rule that did not exist, a metric of those days.
  database.exec(
      "UPDATE generation_scores SET correct = 0 WHERE rule = 'strict' AND generation_id = 1");
  database.exec(
      "UPDATE generation_scores SET extracted = '1,234', correct = 1"
      " WHERE rule = 'flexible' AND generation_id = 2");
  database.exec("DELETE FROM generation_scores WHERE rule = 'numeric'");
  database.exec("DELETE FROM metrics WHERE name = 'gsm8k_pass1_numeric'");
  database.exec("UPDATE metrics SET value = 0.25 WHERE name = 'gsm8k_pass1_strict'");
  const auto reports = rescore(store_, "a");
  ASSERT_EQ(reports.size(), 1U);
  EXPECT_TRUE(reports[0].changed);
  const auto& rules = reports[0].rules;
  ASSERT_EQ(rules.size(), 4U);
  EXPECT_EQ(rules[0].correct_before, 1);
  EXPECT_EQ(rules[0].correct_now, 2);
  EXPECT_EQ(rules[0].turned_right, std::vector<std::int64_t>{0});
  EXPECT_EQ(rules[0].extracted_otherwise, 0);
  EXPECT_EQ(rules[1].turned_wrong, std::vector<std::int64_t>{1});
  EXPECT_EQ(rules[1].extracted_otherwise, 1);
  EXPECT_EQ(rules[2].scored_first, 0);
  EXPECT_EQ(rules[3].scored_first, 3);
  EXPECT_EQ(rules[3].correct_now, 3);
  EXPECT_TRUE(rules[3].turned_right.empty());
  EXPECT_EQ(store_.comparable_contents(), right);
  EXPECT_FALSE(rescore(store_)[0].changed);
}

TEST_F(Rescore, AChangedMetricAloneIsSetRight) {
  finish("aa", kTexts);
  const auto right = store_.comparable_contents();
  store_.database().exec("UPDATE metrics SET low = NULL, high = NULL");
  EXPECT_TRUE(rescore(store_)[0].changed);
  EXPECT_EQ(store_.comparable_contents(), right);
}

TEST_F(Rescore, StagesAreChosenByTheBeginningOfTheirKey) {
  expect_error(Error::Kind::kBadInput, {"r.db", "no generated answers"}, [&] { rescore(store_); });
  finish("ab1", kTexts);
  finish("ab2", kTexts);
  EXPECT_EQ(rescore(store_).size(), 2U);
  EXPECT_EQ(rescore(store_, "ab2")[0].stage.spec.key, "ab2");
  expect_error(Error::Kind::kBadInput, {"begins with 'x'", "ab1, ab2"},
               [&] { rescore(store_, "x"); });
  expect_error(Error::Kind::kBadInput, {"more than one", "'ab'"}, [&] { rescore(store_, "ab"); });
}

}  // namespace
}  // namespace oasis
