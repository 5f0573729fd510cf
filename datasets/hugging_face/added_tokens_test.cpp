#include "datasets/hugging_face/added_tokens.h"

#include <gtest/gtest.h>

namespace oasis {
namespace {

enum Flag : unsigned { kNone = 0, kSingleWord = 1, kLeft = 2, kRight = 4 };

// Ids are 1, 2, … in the order given.
AddedTokens tokens(const std::vector<std::pair<std::string, unsigned>>& contents) {
  std::vector<AddedToken> list;
  for (const auto& [content, flags] : contents) {
    AddedToken token;
    token.id = static_cast<std::uint32_t>(list.size() + 1);
    token.content = content;
    token.single_word = (flags & kSingleWord) != 0;
    token.lstrip = (flags & kLeft) != 0;
    token.rstrip = (flags & kRight) != 0;
    list.push_back(token);
  }
  return AddedTokens(list);
}

// "a|1|b" for text a, token 1, text b.
std::string split(const AddedTokens& added, const std::string& text) {
  RegexState state;
  std::vector<AddedTokens::Piece> pieces;
  added.split(text, state, pieces);
  std::string shown;
  for (const auto& piece : pieces) {
    shown += shown.empty() ? "" : "|";
    shown += piece.id ? std::to_string(*piece.id) : std::string(piece.text);
  }
  return shown;
}

TEST(AddedTokens, TheFirstPlaceThenTheLongest) {
  const auto added = tokens({{"<a>", 0}, {"<a><b>", 0}, {"b", 0}, {"<a", 0}});
  EXPECT_EQ(split(added, "x<a>y"), "x|1|y");
  EXPECT_EQ(split(added, "<a><b>"), "2");
  EXPECT_EQ(split(added, "<a><"), "1|<");
  EXPECT_EQ(split(added, "<a.b"), "4|.|3");
  EXPECT_EQ(split(added, "<"), "<");
  EXPECT_EQ(split(added, ""), "");
  EXPECT_EQ(split(tokens({}), "<a>"), "<a>");
}

TEST(AddedTokens, OfEqualContentsTheFirstCounts) {
  EXPECT_EQ(split(tokens({{"x", 0}, {"x", 0}}), "x"), "1");
}

// As in what the Hugging Face library gives.
TEST(AddedTokens, SwallowWhiteSpace) {
  const auto added = tokens({{"<x>", kLeft | kRight}, {"\n", kRight}, {"<y>", 0}});
  EXPECT_EQ(split(added, "a \u00a0<x>\u3000 b"), "a|1|b");
  EXPECT_EQ(split(added, "<x>  "), "1");
  EXPECT_EQ(split(added, "<y>  <x>"), "3|1");
  EXPECT_EQ(split(added, "a <x>  \n b"), "a|1|2|b");
  EXPECT_EQ(split(added, "a<x>\n \n<x>"), "a|1|2|2|1");
}

TEST(AddedTokens, SingleWordsStandAlone) {
  const auto added = tokens({{"<w>", kSingleWord}});
  EXPECT_EQ(split(added, "<w>"), "1");
  EXPECT_EQ(split(added, ".<w> <w>!"), ".|1| |1|!");
  for (const char* text : {"a<w>", "é<w>", "<w>_", "<w>1", "\u0301<w>", "<w>日", "<w>\u200d",
                           "Ⓐ<w>", "<w>Ⅷ", "<w>\u203f"}) {
    EXPECT_EQ(split(added, text), text);
  }
  EXPECT_EQ(split(added, "½<w>"), "½|1");
}

}  // namespace
}  // namespace oasis
