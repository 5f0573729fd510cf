#include "datasets/sentencepiece_tokenizer.h"

#include <gtest/gtest.h>
#include <sentencepiece_processor.h>

#include "datasets/random.h"
#include "datasets/synthetic/word_problems.h"
#include "datasets/test_support.h"

namespace oasis {
namespace {

constexpr std::uint32_t kVocab = 512;

std::string problems(std::uint64_t first, std::uint64_t count) {
  std::string text;
  for (std::uint64_t i = first; i < first + count; ++i) {
    text += document(word_problem(0, "train", i)) + "\n";
  }
  return text;
}

std::string train(const std::string& text, std::uint32_t vocab_size = kVocab) {
  std::size_t at = 0;
  return train_sentencepiece(vocab_size, [&](std::string& line) {
    if (at >= text.size()) return false;
    const auto end = text.find('\n', at);
    line = text.substr(at, end - at);
    at = end + 1;
    return true;
  });
}

const std::string& model() {
  static const std::string trained = train(problems(0, 500));
  return trained;
}

TokenizerPtr tokenizer() {
  static const auto made = sentencepiece_from_model(model(), "test");
  return made;
}

// Text of all that SentencePiece treats specially, and much that it does not know.
std::string nasty_text(Random& random) {
  const std::vector<std::string> parts = {"Mia",      " has ",    "12",
                                          "  ",       "\n",       "\n\n",
                                          "\t",       "\r\n",     "\xe2\x96\x81",
                                          "<0x41>",   "<unk>",    "<|endoftext|>",
                                          "é",        "日本",     "😀",
                                          "\xff",     "\xc3",     "\xed\xa0\x80",
                                          "\xf0\x9f", "\xc0\x80", std::string("\0", 1),
                                          "\x7f",     "\u00a0",   "\u2028",
                                          " ",        "=<<",      ">>",
                                          "####",     "apples.",  "▁a"};
  std::string text;
  for (std::uint64_t i = random.below(30); i > 0; --i) text += parts[random.below(parts.size())];
  return text;
}

TEST(SentencePiece, HasTheVocabularyAskedForAndCompresses) {
  EXPECT_EQ(tokenizer()->vocab_size(), kVocab);
  EXPECT_EQ(tokenizer()->end_of_text(), 1u);
  EXPECT_EQ(tokenizer()->type(), "sentencepiece");
  const auto text = problems(1000, 50);
  EXPECT_LT(tokenizer()->encode(text).size(), text.size() / 2);
}

TEST(SentencePiece, IsLosslessForAnyBytesAndCountsThem) {
  Random random(3);
  for (int trial = 0; trial < 2000; ++trial) {
    std::string text;
    if (trial % 2 == 0) {
      text = nasty_text(random);
    } else {
      text.resize(random.below(60));
      for (auto& byte : text) byte = static_cast<char>(random.next());
    }
    const auto ids = tokenizer()->encode(text);
    ASSERT_EQ(tokenizer()->decode(ids), text);
    std::size_t bytes = 0;
    for (const auto id : ids) {
      ASSERT_NE(id, tokenizer()->end_of_text());
      ASSERT_NE(id, 0u) << "an unknown piece";
      bytes += tokenizer()->token_bytes(id);
    }
    ASSERT_EQ(bytes, text.size());
  }
}

// Words are encoded one by one and remembered; the result must be the library's own.
TEST(SentencePiece, EncodesAsTheLibraryDoesOnWholeLines) {
  sentencepiece::SentencePieceProcessor processor;
  ASSERT_TRUE(processor.LoadFromSerializedProto(model()).ok());
  Random random(4);
  const std::vector<std::string> words = {"Mia",     "buys", "12",  "apples.", "zebra", "é",
                                          "Marbles", "$5",   "the", "12*3=",   "日本",  ""};
  for (int trial = 0; trial < 500; ++trial) {
    std::string line = trial % 3 == 0 ? " " : "";
    for (std::uint64_t i = 1 + random.below(12); i > 0; --i) {
      line += words[random.below(words.size())] + " ";
    }
    std::vector<int> expected;
    ASSERT_TRUE(processor.Encode(line, &expected).ok());
    const auto ids = tokenizer()->encode(line);
    ASSERT_EQ(std::vector<int>(ids.begin(), ids.end()), expected) << line;
  }
}

TEST(SentencePiece, TextCutAfterANewlineGivesTheSameTokens) {
  const auto text = problems(2000, 20);
  const auto whole = tokenizer()->encode(text);
  for (auto at = text.find('\n'); at != std::string::npos; at = text.find('\n', at + 1)) {
    auto ids = tokenizer()->encode(text.substr(0, at + 1));
    tokenizer()->encode(std::string_view(text).substr(at + 1), ids);
    ASSERT_EQ(ids, whole);
  }
}

TEST(SentencePiece, TrainingIsDeterministic) {
  EXPECT_EQ(train(problems(0, 500)), model());
}

TEST(SentencePiece, LongLinesAreLearnedFromToo) {
  std::string line;
  for (int i = 0; i < 3000; ++i) line += "zyzzyva ";
  const auto learned = sentencepiece_from_model(train(line + "\n", 275), "test");
  EXPECT_EQ(learned->encode(" zyzzyva").size(), 1u);
}

TEST(SentencePiece, AVocabularyThatTheTextCannotFillIsAnError) {
  const auto message = message_of([] { train("a b c\n", 5000); });
  EXPECT_TRUE(contains(message, "vocabulary of 5000 cannot be learned from this text"));
  message_of([] { train(""); });
}

TEST(SentencePiece, SavedFolderLoadsTheSameAndDamageIsFound) {
  TestFolder folder;
  tokenizer()->save(folder.path());
  EXPECT_EQ(load_tokenizer(folder.path())->hash(), tokenizer()->hash());
  const auto file = folder / kSentencePieceFile;
  Random random(6);
  for (int trial = 0; trial < 50; ++trial) {
    auto wrong = model();
    wrong[random.below(wrong.size())] ^= static_cast<char>(1 << random.below(8));
    write_text(file, wrong);
    EXPECT_TRUE(contains(message_of([&folder] { load_tokenizer(folder.path()); }),
                         file.string() + ": damaged"));
  }
  std::filesystem::remove(file);
  message_of([&folder] { load_tokenizer(folder.path()); });
}

TEST(SentencePiece, ModelsOfOtherKindsAreErrors) {
  EXPECT_TRUE(contains(message_of([] { sentencepiece_from_model("nonsense", "m.model"); }),
                       "m.model: not a SentencePiece model"));
  message_of([] { sentencepiece_from_model(model().substr(0, model().size() / 2), "m.model"); });
}

}  // namespace
}  // namespace oasis
