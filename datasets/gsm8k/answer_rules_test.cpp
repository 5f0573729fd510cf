#include "datasets/gsm8k/answer_rules.h"

#include <gtest/gtest.h>

#include "datasets/gsm8k/pass_at_1.h"
#include "datasets/random.h"

namespace oasis::gsm8k {
namespace {

// "extracted:right" for each rule: strict, flexible, openai, numeric; "-" for no answer.
std::array<std::string, 4> judged(std::string_view text, std::string_view gold) {
  std::array<std::string, 4> shown;
  const auto verdicts = judge_all(text, gold);
  for (std::size_t i = 0; i < shown.size(); ++i) {
    shown[i] = verdicts[i].extracted.value_or("-") + (verdicts[i].correct ? ":right" : ":wrong");
  }
  return shown;
}
using Shown = std::array<std::string, 4>;

TEST(AnswerRules, TrapsOfTheProtocol) {
  // Decimals: only numbers compare equal.
  EXPECT_EQ(judged("She makes $18.00", "18"),
            (Shown{"-:wrong", "$18.00:wrong", "-:wrong", "$18.00:right"}));
  EXPECT_EQ(judged("#### 18.00", "18"),
            (Shown{"18.00:wrong", "18.00:wrong", "18.00:wrong", "18.00:right"}));
  // One final point is dropped, not three; openai drops none.
  EXPECT_EQ(judged("#### 18...", "18"),
            (Shown{"18...:wrong", "18...:wrong", "18...:wrong", "18...:wrong"}));
  EXPECT_EQ(judged("#### 18.", "18"), (Shown{"18.:right", "18.:right", "18.:wrong", "18.:right"}));
  // flexible takes the last number, whatever it is.
  EXPECT_EQ(judged("#### 18 (see step 2)", "18"),
            (Shown{"18:right", "2:wrong", "18:right", "2:wrong"}));
  // The marks must be followed by the number itself.
  EXPECT_EQ(judged("#### $18", "18"), (Shown{"-:wrong", "$18:right", "-:wrong", "$18:right"}));
  EXPECT_EQ(judged("#### 1,234", "1234"),
            (Shown{"1,234:right", "1,234:right", "1,234:right", "1,234:right"}));
  EXPECT_EQ(judged("#### 1234", "1,234"),
            (Shown{"1234:right", "1234:right", "1234:right", "1234:right"}));
}

TEST(AnswerRules, FirstMarksAndLastNumber) {
  EXPECT_EQ(judged("#### 7\n#### 8", "7"), (Shown{"7:right", "8:wrong", "7:right", "8:wrong"}));
  EXPECT_EQ(judged("####7\n#### -12", "-12"),
            (Shown{"-12:right", "-12:right", "-12:right", "-12:right"}));
  EXPECT_EQ(judged("", "7"), (Shown{"-:wrong", "-:wrong", "-:wrong", "-:wrong"}));
  EXPECT_EQ(judged("no number", "7"), (Shown{"-:wrong", "-:wrong", "-:wrong", "-:wrong"}));
  // Two signs of a number are a match for flexible: an answer, and a wrong one.
  EXPECT_EQ(judged("it is 7 ...", "7"), (Shown{"-:wrong", "...:wrong", "-:wrong", "...:wrong"}));
  EXPECT_EQ(judged("#### ,", "7"), (Shown{",:wrong", "-:wrong", ",:wrong", "-:wrong"}));
  // Only ASCII digits are digits: here Arabic-Indic and fullwidth ones.
  EXPECT_EQ(judged("#### \u0661\u0668 \uff11", "18"),
            (Shown{"-:wrong", "-:wrong", "-:wrong", "-:wrong"}));
}

TEST(AnswerRules, NumbersAreComparedExactly) {
  const auto numeric = [](std::string_view text, std::string_view gold) {
    return judge(AnswerRule::kNumeric, text, gold).correct;
  };
  EXPECT_TRUE(numeric("0018.50", "18.5"));
  EXPECT_TRUE(numeric("-.50", "-0.5"));
  EXPECT_TRUE(numeric("-0", "0"));
  EXPECT_TRUE(numeric("00.00", "0"));
  EXPECT_TRUE(numeric("$1,000.0.", "1000"));
  EXPECT_FALSE(numeric("1.8.0", "1.8"));
  EXPECT_FALSE(numeric("$$", "0"));
  EXPECT_FALSE(numeric("-18", "18"));
  EXPECT_FALSE(numeric("9007199254740993", "9007199254740992"));  // equal as doubles
  EXPECT_FALSE(numeric("1" + std::string(400, '0'), "2" + std::string(400, '0')));
}

TEST(AnswerRules, NothingAfterAStopStringCounts) {
  for (const auto stop : kStopStrings) {
    const auto text = "#### 7" + std::string(stop) + " #### 8";
    EXPECT_EQ(cut_at_stop(text), "#### 7");
    EXPECT_EQ(judged(text, "7"), (Shown{"7:right", "7:right", "7:right", "7:right"}));
  }
  EXPECT_EQ(cut_at_stop("a</s>b<|im_end|>Question:"), "a");
  EXPECT_EQ(cut_at_stop("a Question b"), "a Question b");
}

TEST(AnswerRules, AnyBytesAreJudged) {
  constexpr std::string_view kPieces[] = {"#### ", "####", "-",     "$",    ",",    ".",    "18",
                                          "1,8",   "\n",   "</s>",  "\xff", "\xe2", "\x80", " ",
                                          "\\",    "{",    "Quest", "0",    "\r"};
  Random random(5);
  for (int round = 0; round < 20'000; ++round) {
    std::string text;
    for (auto left = random.below(24); left > 0; --left) {
      if (random.below(4) == 0) {
        text += static_cast<char>(random.below(256));
      } else {
        text += kPieces[random.below(std::size(kPieces))];
      }
    }
    const auto verdicts = judge_all(text, "18");
    for (const auto& verdict : verdicts) {
      ASSERT_TRUE(!verdict.extracted || text.find(*verdict.extracted) != std::string::npos);
      ASSERT_TRUE(verdict.extracted || !verdict.correct);
    }
    // Strict is openai with one more allowance, numeric is flexible with more.
    ASSERT_TRUE(verdicts[0].correct || !verdicts[2].correct) << text;
    ASSERT_TRUE(verdicts[3].correct || !verdicts[1].correct) << text;
  }
  // Long runs need neither deep recursion nor quadratic time.
  for (const char* piece : {"9", "#### ", "-", "$", ".9"}) {
    std::string text;
    while (text.size() < 1'000'000) text += piece;
    EXPECT_FALSE(judge_all(text, "18")[3].correct);
  }
}

TEST(PassAt1, CountsEachRule) {
  const auto counts = pass_at_1({judge_all("#### 18", "18"), judge_all("$18.00", "18"),
                                 judge_all("", "18"), judge_all("#### 18.", "18")});
  ASSERT_EQ(counts.size(), 4u);
  const std::array names = {"gsm8k_pass1_strict", "gsm8k_pass1_flexible", "gsm8k_pass1_openai",
                            "gsm8k_pass1_numeric"};
  const std::array<std::int64_t, 4> correct = {2, 2, 1, 3}, unanswered = {2, 1, 2, 1};
  for (std::size_t i = 0; i < counts.size(); ++i) {
    EXPECT_EQ(counts[i].metric_name(), names[i]);
    EXPECT_EQ(counts[i].correct, correct[i]);
    EXPECT_EQ(counts[i].unanswered, unanswered[i]);
    EXPECT_EQ(counts[i].n, 4);
    EXPECT_EQ(counts[i].value(), static_cast<double>(correct[i]) / 4);
  }
}

}  // namespace
}  // namespace oasis::gsm8k
