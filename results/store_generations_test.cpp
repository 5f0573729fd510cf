#include <SQLiteCpp/Database.h>
#include <gtest/gtest.h>

#include "results/bound_statement.h"
#include "results/test_support.h"

namespace oasis {
namespace {

class Generations : public ::testing::Test {
 protected:
  void SetUp() override {
    run_ = store_.begin_run({.machine = "host"});
    const auto suite = store_.add_suite("s", "{}");
    const auto cell = store_.add_cell(sample_cell(suite, "oasis", 1));
    stage_ = store_.plan_stage(cell, sample_stage("k", "gsm8k", "gsm8k")).id;
  }
  void begin() { ASSERT_TRUE(store_.begin_stage(stage_, run_, "cpu", "float32")); }

  static MetricRow pass1(double value) {
    return {.name = "gsm8k_pass1_strict",
            .value = value,
            .unit = "1",
            .n = 2,
            .interval = Interval{0.0, 1.0}};
  }

  TemporaryFolder folder_;
  Store store_ = Store::open(folder_ / "r.db", Store::Mode::kCreate);
  std::int64_t run_ = 0, stage_ = 0;
};

TEST_F(Generations, TextsOutliveAKilledStage) {
  begin();
  const std::string odd("a\0\xff\n#### 7", 10);
  store_.add_generations(stage_, {{3, "7", odd, 5}, {1, "1,234", "", 0}});
  begin();  // as the next process does
  store_.add_generations(stage_, {{2, "9", "#### 9", 4}, {1, "1,234", "twice", 2}});
  const auto rows = store_.generations(stage_);
  ASSERT_EQ(rows.size(), 3U);
  EXPECT_EQ(rows[0].problem, 1);
  EXPECT_EQ(rows[0].text, "twice");
  EXPECT_EQ(rows[0].gold, "1,234");
  EXPECT_EQ(rows[2].text, odd);
  EXPECT_EQ(rows[2].tokens, 5);
  EXPECT_TRUE(store_.generation_scores(stage_).empty());
  EXPECT_TRUE(store_.stages_with_generations().empty());  // not done
}

TEST_F(Generations, ScoresComeWithTheMetricsAndChangeWithoutTheTexts) {
  begin();
  store_.add_generations(stage_, {{0, "18", "#### 18", 4}, {1, "7", "", 0}});
  store_.finish_stage(stage_, {.metrics = {pass1(0.5)},
                               .generation_scores = {{0, "strict", "18", true},
                                                     {1, "strict", std::nullopt, false},
                                                     {1, "retired", "7", true}}});
  EXPECT_EQ(store_.stages_with_generations(), std::vector<std::string>{"k"});
  const auto before = store_.comparable_contents();
  store_.rescore_stage(stage_, {{0, "strict", "18", true}, {1, "strict", std::nullopt, false}},
                       {pass1(0.5)});
  EXPECT_EQ(store_.comparable_contents(), before);

  store_.rescore_stage(stage_, {{0, "strict", std::nullopt, false}, {0, "new", "18", true}},
                       {pass1(0.0)});
  const auto scores = store_.generation_scores(stage_);
  ASSERT_EQ(scores.size(), 4U);
  EXPECT_EQ(scores[0].rule, "new");
  EXPECT_EQ(scores[1].extracted, std::nullopt);
  EXPECT_FALSE(scores[1].correct);
  EXPECT_EQ(scores[2].rule, "retired");  // what was found under another rule stays
  EXPECT_EQ(scores[2].extracted, "7");
  EXPECT_TRUE(scores[2].correct);
  const auto metrics = store_.metrics(stage_);
  ASSERT_EQ(metrics.size(), 1U);
  EXPECT_EQ(metrics[0].value, 0.0);
  EXPECT_EQ(metrics[0].dataset, "gsm8k");
  EXPECT_EQ(metrics[0].interval->high, 1.0);
  EXPECT_EQ(store_.generations(stage_).size(), 2U);
  EXPECT_NE(store_.comparable_contents(), before);
}

TEST_F(Generations, WhatCannotBeScoredIsRefusedWhole) {
  expect_error(Error::Kind::kFailed, {"not done"}, [&] { store_.rescore_stage(stage_, {}, {}); });
  begin();
  store_.add_generations(stage_, {{0, "18", "#### 18", 4}});
  store_.finish_stage(stage_,
                      {.metrics = {pass1(1.0)}, .generation_scores = {{0, "strict", "18", true}}});
  const auto before = store_.comparable_contents();
  expect_error(Error::Kind::kFailed, {"problem 5"}, [&] {
    store_.rescore_stage(stage_, {{0, "strict", std::nullopt, false}, {5, "strict", "1", true}},
                         {pass1(0.0)});
  });
  EXPECT_EQ(store_.comparable_contents(), before);
}

TEST_F(Generations, AnotherTryBeginsWithoutScores) {
  begin();
  store_.add_generations(stage_, {{0, "18", "#### 18", 4}});
  store_.database().exec(
      "INSERT INTO generation_scores SELECT id, 'strict', '18', 1 FROM generations");
  store_.fail_stage(stage_, "out of memory");
  begin();
  EXPECT_TRUE(store_.generation_scores(stage_).empty());
  EXPECT_EQ(store_.generations(stage_).size(), 1U);
}

}  // namespace
}  // namespace oasis
