#include "datasets/hugging_face/bpe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "datasets/hugging_face/byte_letters.h"
#include "datasets/random.h"
#include "datasets/test_support.h"

namespace oasis {
namespace {

using Merges = std::vector<std::pair<std::string, std::string>>;
using Ids = std::vector<std::uint32_t>;

// Letters a, b, c, … are ids 0, 1, 2, …; merged tokens follow.
BpeDescription describe(const std::string& letters, const Merges& merges) {
  BpeDescription description;
  for (const char letter : letters) {
    description.vocab.emplace(std::string(1, letter),
                              static_cast<std::uint32_t>(description.vocab.size()));
  }
  for (const auto& [left, right] : merges) {
    description.vocab.emplace(left + right, static_cast<std::uint32_t>(description.vocab.size()));
  }
  description.merges = merges;
  return description;
}

Ids encode(const Bpe& bpe, const std::string& word, Bpe::Scratch& scratch) {
  Ids ids;
  bpe.encode(word, scratch, ids);
  return ids;
}

Ids encode(const BpeDescription& description, const std::string& word) {
  Bpe::Scratch scratch;
  return encode(Bpe(description, "t"), word, scratch);
}

// As the definition has it: merge the leftmost pair of the lowest rank until there is none.
Ids merged_by_definition(const BpeDescription& description, const std::string& word) {
  std::map<std::pair<std::string, std::string>, std::size_t> ranks;
  for (std::size_t i = 0; i < description.merges.size(); ++i) ranks[description.merges[i]] = i;
  std::vector<std::string> tokens;
  for (const char c : word) tokens.emplace_back(1, c);
  while (true) {
    std::size_t best = description.merges.size(), place = 0;
    for (std::size_t i = 0; i + 1 < tokens.size(); ++i) {
      const auto found = ranks.find({tokens[i], tokens[i + 1]});
      if (found != ranks.end() && found->second < best) {
        best = found->second;
        place = i;
      }
    }
    if (best == description.merges.size()) break;
    tokens[place] += tokens[place + 1];
    tokens.erase(tokens.begin() + static_cast<std::ptrdiff_t>(place) + 1);
  }
  Ids ids;
  for (const auto& token : tokens) ids.push_back(description.vocab.at(token));
  return ids;
}

TEST(Bpe, LowestRankFirstThenLeftmost) {
  const auto description = describe("abc", {{"b", "c"}, {"a", "b"}, {"a", "bc"}, {"a", "a"}});
  EXPECT_EQ(encode(description, "abc"), (Ids{5}));      // bc, then abc; never ab
  EXPECT_EQ(encode(description, "abab"), (Ids{4, 4}));  // ab twice
  EXPECT_EQ(encode(description, "aaa"), (Ids{6, 0}));   // the left two
  EXPECT_EQ(encode(description, "cab"), (Ids{2, 4}));
  EXPECT_EQ(encode(description, ""), Ids{});
}

TEST(Bpe, RandomWordsAreMergedAsTheDefinitionSays) {
  Random random(5);
  for (int trial = 0; trial < 200; ++trial) {
    Merges merges;
    std::vector<std::string> tokens = {"a", "b", "c"};
    for (int i = 0; i < 12; ++i) {
      // The same text may come of several merges, as in Llama 3's file.
      const auto& left = tokens[random.below(tokens.size())];
      const auto& right = tokens[random.below(tokens.size())];
      merges.emplace_back(left, right);
      tokens.push_back(left + right);
    }
    const auto description = describe("abc", merges);
    const Bpe bpe(description, "t");
    Bpe::Scratch scratch;
    for (int i = 0; i < 20; ++i) {
      std::string word;
      for (auto left = random.below(40); left > 0; --left) word += "abc"[random.below(3)];
      const auto expected = merged_by_definition(description, word);
      ASSERT_EQ(encode(bpe, word, scratch), expected) << word;
      ASSERT_EQ(encode(bpe, word, scratch), expected) << word << ", from the cache";
    }
  }
}

TEST(Bpe, LongWordsTakeNoQuadraticTime) {
  const auto description = describe("ab", {{"a", "a"}, {"aa", "aa"}});
  EXPECT_EQ(encode(description, std::string(1'000'001, 'a')).size(), 250'001u);
}

TEST(Bpe, AWordThatIsATokenIsThatTokenWhereMergesAreIgnored) {
  auto description = describe("abc", {{"b", "c"}});
  description.vocab["abc"] = 9;
  EXPECT_EQ(encode(description, "abc"), (Ids{0, 3}));
  description.ignore_merges = true;
  EXPECT_EQ(encode(description, "abc"), (Ids{9}));
  EXPECT_EQ(encode(description, "abca"), (Ids{0, 3, 0}));
}

TEST(Bpe, BytesWithoutATokenAreLeftOutOrUnknown) {
  auto description = describe("ab", {{"a", "b"}});
  EXPECT_EQ(encode(description, "axb"), (Ids{2}));
  EXPECT_EQ(encode(description, "x"), Ids{});
  description.vocab["<unk>"] = 7;
  description.unk_token = "<unk>";
  EXPECT_EQ(encode(description, "axxb"), (Ids{0, 7, 7, 1}));
}

TEST(Bpe, MergesOutsideTheVocabularyAreErrors) {
  auto description = describe("ab", {{"a", "b"}});
  description.merges.emplace_back("a", "x");
  EXPECT_EQ(message_of([&] { Bpe(description, "f: model"); }),
            "f: model.merges[1]: the token 'x' is not in the vocabulary");
  description.merges.back() = {"b", "a"};
  EXPECT_TRUE(contains(message_of([&] { Bpe(description, "f: model"); }), "'ba' is not in"));
  description.merges.pop_back();
  description.unk_token = "?";
  EXPECT_TRUE(contains(message_of([&] { Bpe(description, "f: model"); }), "model.unk_token: '?'"));
}

TEST(WordCache, KeepsWordsApart) {
  WordCache cache;
  const std::string zero("a\0", 2);
  EXPECT_TRUE(cache.find(WordCache::key_of("a")).empty());
  cache.store(WordCache::key_of("a"), Ids{1});
  cache.store(WordCache::key_of(zero), Ids{2, 3});
  EXPECT_EQ(cache.find(WordCache::key_of(zero)).size(), 2u);
  EXPECT_EQ(cache.find(WordCache::key_of("a"))[0], 1u);
  const std::string longest(WordCache::kMaxBytes, 'x');
  cache.store(WordCache::key_of(longest), Ids(WordCache::kMaxIds, 4));
  EXPECT_EQ(cache.find(WordCache::key_of(longest)).size(), WordCache::kMaxIds);
}

TEST(ByteLetters, AreGpt2s) {
  EXPECT_EQ(byte_letter(' '), "Ġ");
  EXPECT_EQ(byte_letter('\n'), "Ċ");
  EXPECT_EQ(byte_letter('A'), "A");
  EXPECT_EQ(byte_letter(0xad), "Ń");
  EXPECT_EQ(byte_letter(0xff), "ÿ");
  EXPECT_EQ(byte_letter(0), "Ā");
  for (unsigned byte = 0; byte < 256; ++byte) {
    const auto letter = byte_letter(static_cast<unsigned char>(byte));
    EXPECT_EQ(bytes_of_letters(letter + letter), std::string(2, static_cast<char>(byte)));
  }
  EXPECT_EQ(bytes_of_letters("a b"), std::nullopt);
  EXPECT_EQ(bytes_of_letters("日"), std::nullopt);
  EXPECT_EQ(bytes_of_letters("ń"), std::nullopt);  // U+0144, the first past the alphabet
}

}  // namespace
}  // namespace oasis
