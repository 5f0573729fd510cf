#include "suites/generated_text.h"

#include <gtest/gtest.h>

#include "datasets/test_support.h"
#include "support/error.h"

namespace oasis {
namespace {

using End = GeneratedText::End;

// One token a byte: every stop string spans tokens.
struct Run {
  std::string text, shown;
  std::int64_t tokens = 0;
  End end = End::kNone;
};

Run run(const std::string& bytes, const std::vector<std::string>& stops, bool ends = false) {
  const auto tokenizer = byte_tokenizer();
  const TextEnd end(*tokenizer, stops);
  GeneratedText text(*tokenizer, end);
  Run found;
  auto ids = tokenizer->encode(bytes);
  if (ends) ids.push_back(tokenizer->end_of_text());
  for (const auto id : ids) {
    const bool goes_on = text.add(id);
    const auto piece = text.take(false);
    EXPECT_EQ(valid_utf8(piece), piece);
    found.shown += piece;
    if (!goes_on) break;
  }
  found.shown += text.take(true);
  found.text = text.text();
  found.tokens = text.tokens();
  found.end = text.end();
  return found;
}

TEST(GeneratedText, EndsInFrontOfTheFirstStopString) {
  const auto found = run("#### 18\n\nQuestion: How", {"Question:", "</s>"});
  EXPECT_EQ(found.text, "#### 18\n\n");
  EXPECT_EQ(found.shown, found.text);
  EXPECT_EQ(found.end, End::kStop);
  EXPECT_EQ(found.tokens, 18);
  EXPECT_EQ(run("abcab", {"bc", "abc"}).text, "");
  EXPECT_EQ(run("aab", {"ab"}).text, "a");
  EXPECT_EQ(run("Quest", {"Question:"}).shown, "Quest");
}

TEST(GeneratedText, WhatMayBeginAStopStringIsHeldBack) {
  const auto tokenizer = byte_tokenizer();
  const TextEnd end(*tokenizer, {"</s>"});
  GeneratedText text(*tokenizer, end);
  std::string shown;
  for (const auto id : tokenizer->encode("a</")) text.add(id);
  EXPECT_EQ(text.take(false), "a");
  text.add('x');
  EXPECT_EQ(text.take(false), "</x");
  EXPECT_EQ(text.take(true), "");
}

TEST(GeneratedText, EndOfText) {
  const auto found = run("ab", {"c"}, true);
  EXPECT_EQ(found.text, "ab");
  EXPECT_EQ(found.end, End::kEndOfText);
  EXPECT_EQ(found.tokens, 3);
  EXPECT_EQ(run("ab", {}).end, End::kNone);
}

TEST(GeneratedText, CharactersAreShownWhole) {
  const std::string text = "é€\xF0\x9F\x98\x80ñ";
  EXPECT_EQ(run(text, {}).shown, text);
  EXPECT_EQ(valid_utf8("a\xE2\x82z\xFF"), "a\uFFFD\uFFFDz\uFFFD");
}

TEST(GeneratedText, AnEmptyStopStringIsRefused) {
  EXPECT_THROW(TextEnd(*byte_tokenizer(), {""}), Error);
}

}  // namespace
}  // namespace oasis
