#include "datasets/hugging_face/nfc.h"

#include <gtest/gtest.h>

#include "datasets/utf8.h"

namespace oasis {
namespace {

std::string nfc(const std::string& text) {
  std::string buffer;
  return std::string(to_nfc(text, buffer));
}

// Examples of UAX 15.
TEST(Nfc, ComposesAndReorders) {
  EXPECT_EQ(nfc("e\u0301"), "\u00e9");
  EXPECT_EQ(nfc("\u212b"), "\u00c5");               // angstrom sign
  EXPECT_EQ(nfc("D\u0307\u0323"), "\u1e0c\u0307");  // dots below before dots above
  EXPECT_EQ(nfc("\u1112\u1161\u11ab"), "\ud55c");   // Hangul
  EXPECT_EQ(nfc("\u0958"), "\u0915\u093c");         // excluded from composition
  EXPECT_EQ(nfc("\u2001"), "\u2003");
  EXPECT_EQ(nfc("ﬁ"), "ﬁ");  // compatibility characters stay
  EXPECT_EQ(nfc(std::string("e\0\u0301", 4)), std::string("e\0\u0301", 4));
}

TEST(Nfc, TextThatIsNormalizedIsNotCopied) {
  const std::string text = "“plain” – é, naïve…";
  std::string buffer;
  EXPECT_EQ(to_nfc(text, buffer).data(), text.data());
  EXPECT_EQ(nfc("“e\u0301”"), "“é”");
}

// U+08CA, a mark above, is of Unicode 14: its class is 230 there and was 0 before.
TEST(Nfc, CharactersAfterUnicode9NeitherReorderNorCompose) {
  EXPECT_EQ(nfc("q\u0345\u08ca"), "q\u0345\u08ca");
  EXPECT_EQ(nfc("q\u0345\u0301"), "q\u0301\u0345");
  EXPECT_EQ(nfc("\u08cae\u0301\u08ca\u0301"), "\u08ca\u00e9\u08ca\u0301");
  EXPECT_EQ(nfc("\U00011935\U00011930"), "\U00011935\U00011930");
}

TEST(Utf8, CharactersAndWhatIsNone) {
  EXPECT_EQ(character_length("a"), 1u);
  EXPECT_EQ(character_length("é"), 2u);
  EXPECT_EQ(character_length("日x"), 3u);
  EXPECT_EQ(character_length("😀"), 4u);
  for (const char* text : {"\x80", "\xc0\x80", "\xc3", "\xe0\x80\x80", "\xed\xa0\x80", "\xe6\x97",
                           "\xf4\x90\x80\x80", "\xf5", "\xff"}) {
    EXPECT_EQ(character_length(text), 0u);
  }
  EXPECT_EQ(valid_prefix("plain ASCII text, é and 日\xff more"), 28u);
  EXPECT_EQ(valid_prefix(""), 0u);
  EXPECT_EQ(code_point("😀"), U'😀');
  EXPECT_EQ(code_point("é"), U'é');
  EXPECT_EQ(last_character_length("a日"), 3u);
  EXPECT_EQ(last_character_length("日a"), 1u);
}

}  // namespace
}  // namespace oasis
