#include "datasets/hugging_face/pre_tokenizer.h"

#include <gtest/gtest.h>

#include "datasets/random.h"
#include "datasets/test_support.h"

namespace oasis {
namespace {

using Strings = std::vector<std::string>;

PreTokenizerStep step(const std::string& pattern) {
  PreTokenizerStep made;
  made.where = "x.json: pre_tokenizer.pattern";
  made.pattern = pattern;
  return made;
}

Strings words(const std::vector<PreTokenizerStep>& steps, const std::string& text) {
  RegexState state;
  Strings found;
  PreTokenizer(steps).words(text, state, [&](std::string_view word) { found.emplace_back(word); });
  return found;
}

const char* const kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";

TEST(PreTokenizer, Gpt2) {
  EXPECT_EQ(words({step(kGpt2Pattern)}, "Hello my friend, it's   12345 days\n\nold"),
            (Strings{"Hello", " my", " friend", ",", " it", "'s", "  ", " 12345", " days", "\n",
                     "\n", "old"}));
  EXPECT_EQ(words({step(kGpt2Pattern)}, ""), Strings{});
}

TEST(PreTokenizer, Llama3) {
  EXPECT_EQ(words({step(kLlama3Pattern)}, "IT'S 12345!!\n\n  x (y)  "),
            (Strings{"IT", "'S", " ", "123", "45", "!!\n\n", " ", " x", " (", "y", ")", "  "}));
}

TEST(PreTokenizer, StepsFollowEachOther) {
  EXPECT_EQ(words({step(kDigitPattern), step(kGpt2Pattern)}, "in 1984½"),
            (Strings{"in", " ", "1", "9", "8", "4", "½"}));
  EXPECT_EQ(words({step(std::string(kDigitPattern) + "+")}, "a12b"), (Strings{"a", "12", "b"}));
}

TEST(PreTokenizer, PrefixSpaceIsPutBeforeEachPieceWithoutOne) {
  auto spaced = step("");
  spaced.add_prefix_space = true;
  EXPECT_EQ(words({spaced}, "a"), Strings{" a"});
  EXPECT_EQ(words({spaced}, " a"), Strings{" a"});
  EXPECT_EQ(words({spaced}, "\ta"), Strings{" \ta"});
  EXPECT_EQ(words({step(","), spaced}, "a, b"), (Strings{" a", " ,", " b"}));
}

TEST(PreTokenizer, BehaviorsAndLiterals) {
  auto dash = step("-.");
  dash.literal = true;
  EXPECT_EQ(words({dash}, "a-.b-c-."), (Strings{"a", "-.", "b-c", "-."}));
  dash.behavior = SplitBehavior::kRemoved;
  EXPECT_EQ(words({dash}, "a-.b-c-."), (Strings{"a", "b-c"}));
  auto letters = step(R"(\p{L}+)");
  letters.behavior = SplitBehavior::kRemoved;
  letters.invert = true;
  EXPECT_EQ(words({letters}, "a, bc."), (Strings{"a", "bc"}));
}

TEST(PreTokenizer, MatchesOfNothingMoveOn) {
  EXPECT_EQ(words({step("x*")}, "axé"), (Strings{"a", "x", "é"}));
}

TEST(PreTokenizer, PatternsThatAreNotSupportedNameTheirStep) {
  EXPECT_TRUE(contains(message_of([] { PreTokenizer({step(R"(\w+)")}); }),
                       "x.json: pre_tokenizer.pattern: '\\w'"));
}

// Text cut after a newline between characters that print.
TEST(PreTokenizer, IndependentLinesGiveTheWordsOfTheWhole) {
  const Strings parts = {"a", "1", "!", "'s", "\n", "\n", " ", "\t", "\r\n", "é", "..", "\u3000"};
  Random random(8);
  for (const auto& steps :
       std::vector<std::vector<PreTokenizerStep>>{{step(kGpt2Pattern)},
                                                  {step(kLlama3Pattern)},
                                                  {step(kDigitPattern), step(kGpt2Pattern)}}) {
    ASSERT_TRUE(PreTokenizer(steps).lines_are_independent());
    int cuts = 0;
    for (int trial = 0; trial < 1000; ++trial) {
      std::string text;
      for (auto left = random.below(20); left > 0; --left)
        text += parts[random.below(parts.size())];
      const auto prints = [&](std::size_t i) { return text[i] > ' ' && text[i] <= '~'; };
      for (std::size_t at = 2; at < text.size(); ++at) {
        if (text[at - 1] != '\n' || !prints(at - 2) || !prints(at)) continue;
        auto cut = words(steps, text.substr(0, at));
        for (const auto& word : words(steps, text.substr(at))) cut.push_back(word);
        ASSERT_EQ(cut, words(steps, text)) << text;
        ++cuts;
      }
    }
    EXPECT_GT(cuts, 100);
  }
  auto spaced = step(kGpt2Pattern);
  spaced.add_prefix_space = true;
  EXPECT_FALSE(PreTokenizer({spaced}).lines_are_independent());
  EXPECT_FALSE(PreTokenizer({step(R"(\s+)")}).lines_are_independent());
}

}  // namespace
}  // namespace oasis
