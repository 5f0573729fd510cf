#include "datasets/hugging_face/regex_syntax.h"

#include <gtest/gtest.h>

#include <vector>

#include "datasets/hugging_face/regex.h"
#include "datasets/test_support.h"

namespace oasis {
namespace {

std::vector<std::string> matches(const std::string& pattern, const std::string& text) {
  const Regex regex(pcre2_syntax(pattern, "p"), Regex::Syntax::kPattern, "p");
  RegexState state;
  std::vector<std::string> found;
  std::size_t from = 0;
  while (const auto match = regex.find(text, from, state)) {
    found.push_back(text.substr(match->begin, match->end - match->begin));
    from = match->end;
  }
  return found;
}

using Strings = std::vector<std::string>;

TEST(RegexSyntax, ClassesHoldWhatUnicode16Does) {
  // U+1C89 and U+323AF are letters since Unicode 16 and 15, U+11BF0 a digit since 16.
  EXPECT_EQ(matches(R"(\p{L}+)", "aé\u1c89 日\U000323af1"), (Strings{"aé\u1c89", "日\U000323af"}));
  EXPECT_EQ(matches(R"(\p{Lu})", "aA\u1c89"), (Strings{"A", "\u1c89"}));
  EXPECT_EQ(matches(R"([^\p{N}]+)", "a1\U00011bf0b"), (Strings{"a", "b"}));
  EXPECT_EQ(matches(R"(\P{L}+)", "a1\u1c89"), (Strings{"1"}));
}

TEST(RegexSyntax, WhiteSpaceIsUnicodesAlone) {
  EXPECT_EQ(matches(R"(\s+)", "a \u00a0\u0085\u3000b\u180ec\u200bd"),
            (Strings{" \u00a0\u0085\u3000"}));
  EXPECT_EQ(matches(R"(\S+)", "a \u180e"), (Strings{"a", "\u180e"}));
  EXPECT_EQ(matches(R"([^\s]+)", "a b"), (Strings{"a", "b"}));
}

TEST(RegexSyntax, GroupsCountsAndEscapesMeanTheSame) {
  EXPECT_EQ(matches(R"((?i:'s|'ll)|(a|b){2}|c{1,}|\.\-)", "'Sabc.-'\u017f"),
            (Strings{"'S", "ab", "c", ".-", "'\u017f"}));
  EXPECT_EQ(matches(R"(a+?b|c++|[a-c\-\]]+)", "aab"), (Strings{"aab"}));
  EXPECT_EQ(matches(R"(\s+(?!\S))", "a  b "), (Strings{" ", " "}));
}

TEST(RegexSyntax, WhatTheTwoReadDifferentlyIsRefusedByPlace) {
  const auto refused = [](const std::string& pattern) {
    return message_of([&] { pcre2_syntax(pattern, "x.json: pattern"); });
  };
  EXPECT_EQ(refused(R"(a\wb)"), "x.json: pattern: '\\w' at byte 1 of the pattern is not supported");
  EXPECT_TRUE(contains(refused(R"(\p{Han})"), "the property '\\p{Han}'"));
  for (const char* pattern :
       {R"(\h)",   R"(\b)",      R"(\d)",         R"(\1)",        R"(\x41)", R"(\)",    "^a",
        "a$",      "a.b",        R"(\pL)",        R"(\p{^L})",    R"(\p{L)", R"(\p{})", "(?<=a)b",
        "(?<n>a)", "(?i)a",      "(?#c)",         "[[a]b]",       "[a&&b]",  "[]a]",    "[a",
        R"([\S])", R"([\P{L}])", R"([a-\s])",     R"([!-\p{L}])", "a{,2}",   "a{",      "a{x}",
        "a{1}?",   "a{1,2}+",    R"((?i:\p{L}))", "(?i:ss)",      "(?i:ST)", "(?i:é)",  "a]",
        "a}",      "\xff"}) {
    EXPECT_TRUE(contains(refused(pattern), "not supported")) << pattern;
  }
}

TEST(Regex, MistakesAreErrorsThatNameThem) {
  const auto message = [](const std::string& pattern) {
    return message_of([&] { Regex(pattern, Regex::Syntax::kPattern, "x.json: pattern"); });
  };
  EXPECT_TRUE(
      contains(message("(a"), "x.json: pattern: not a regular expression: missing closing"));
  EXPECT_TRUE(contains(message(""), "empty pattern"));
  EXPECT_TRUE(contains(message(std::string(20'000, 'a')), "20000 bytes"));
  message(std::string(5'000, '(') + std::string(5'000, ')'));
}

TEST(Regex, WorkWithoutEndIsAnError) {
  const Regex regex("(?:a+)+[bc]", Regex::Syntax::kPattern, "x.json: pattern");
  RegexState state;
  const std::string text(5'000, 'a');
  EXPECT_TRUE(contains(message_of([&] { regex.find(text, 0, state); }),
                       "x.json: pattern: the regular expression cannot be used on this text"));
}

TEST(Regex, LiteralMeansItself) {
  const Regex regex("a.(", Regex::Syntax::kLiteral, "p");
  RegexState state;
  EXPECT_FALSE(regex.find("abc(", 0, state));
  EXPECT_EQ(regex.find("xa.(", 0, state)->begin, 1u);
}

}  // namespace
}  // namespace oasis
