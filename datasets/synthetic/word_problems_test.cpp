#include "datasets/synthetic/word_problems.h"

#include <gtest/gtest.h>

#include <regex>
#include <set>

#include "datasets/test_support.h"

namespace oasis {
namespace {

TEST(WordProblems, EveryStepIsRightAndTheLastIsTheAnswer) {
  const std::regex step(R"((\d+)([-+*])(\d+)=<<(\d+)([-+*])(\d+)=(\d+)>>(\d+))");
  const std::regex final_answer(R"(\n#### (\d+)$)");
  for (std::uint64_t i = 0; i < 2000; ++i) {
    const auto problem = word_problem(1, "train", i);
    std::smatch last;
    ASSERT_TRUE(std::regex_search(problem.answer, last, final_answer)) << problem.answer;
    long result = -1;
    for (std::sregex_iterator it(problem.answer.begin(), problem.answer.end(), step), end;
         it != end; ++it) {
      const auto& m = *it;
      EXPECT_EQ(m[1], m[4]);
      EXPECT_EQ(m[2], m[5]);
      EXPECT_EQ(m[3], m[6]);
      EXPECT_EQ(m[7], m[8]);
      const long a = std::stol(m[1]), b = std::stol(m[3]);
      result = m[2] == "+" ? a + b : m[2] == "-" ? a - b : a * b;
      EXPECT_EQ(result, std::stol(m[7])) << problem.answer;
      EXPECT_GE(result, 0);
      EXPECT_LE(result, 400);
    }
    EXPECT_EQ(std::stol(last[1]), result) << problem.answer;
  }
}

TEST(WordProblems, SplitsShareNoQuestionWhateverTheSeed) {
  std::set<std::string> train, others;
  for (const std::uint64_t seed : {1, 2, 3}) {
    for (std::uint64_t i = 0; i < 5000; ++i) {
      train.insert(word_problem(seed, "train", i).question);
    }
    for (std::uint64_t i = 0; i < 500; ++i) {
      others.insert(word_problem(seed, "valid", i).question);
      others.insert(word_problem(seed, "test", i).question);
    }
  }
  for (const auto& question : others) EXPECT_EQ(train.count(question), 0u) << question;
  EXPECT_GT(train.size(), 13'000u) << "questions repeat too often";
}

TEST(WordProblems, UnknownSplitIsAnError) {
  EXPECT_TRUE(contains(message_of([] { word_problem(0, "dev", 0); }), "no split 'dev'"));
}

// Golden: recorded from this implementation; results made with it depend on it.
TEST(WordProblems, GoldenFirstProblem) {
  EXPECT_EQ(document(word_problem(0, "train", 0)),
            "Question: Lily finds 9 apples every day. How many apples does Lily find in 12 "
            "days?\nAnswer: In 12 days Lily finds 9*12=<<9*12=108>>108 apples.\n#### 108");
  EXPECT_EQ(document(word_problem(0, "test", 0)),
            "Question: Tom has 34 stamps. Tom buys 40 more and gives 74 to Ivan. How many stamps "
            "does Tom have now?\nAnswer: After buying, Tom has 34+40=<<34+40=74>>74 stamps.\nAfter "
            "giving, Tom has 74-74=<<74-74=0>>0 stamps.\n#### 0");
}

}  // namespace
}  // namespace oasis
