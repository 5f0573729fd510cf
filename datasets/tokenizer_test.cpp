#include "datasets/tokenizer.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "datasets/test_support.h"

namespace oasis {
namespace {

TEST(ByteTokenizer, IsLosslessOverAllBytes) {
  const auto tokenizer = byte_tokenizer();
  std::string text;
  for (int byte = 0; byte < 256; ++byte) text.push_back(static_cast<char>(byte));
  const auto ids = tokenizer->encode(text);
  EXPECT_EQ(tokenizer->vocab_size(), 257u);
  EXPECT_EQ(tokenizer->end_of_text(), 256u);
  EXPECT_EQ(ids.size(), 256u);
  EXPECT_EQ(tokenizer->decode(ids), text);
  EXPECT_EQ(tokenizer->decode(std::vector<std::uint32_t>{65, 256, 66}), "AB");
  EXPECT_EQ(tokenizer->token_bytes(65), 1u);
  EXPECT_EQ(tokenizer->token_bytes(256), 0u);
}

TEST(ByteTokenizer, TokenOutsideTheVocabularyIsAnError) {
  const auto message = message_of([] {
    byte_tokenizer()->decode(std::vector<std::uint32_t>{1, 257});
  });
  EXPECT_TRUE(contains(message, "token 257 is outside the vocabulary of 257 tokens (0 to 256)"));
}

TEST(IntegerTokenizer, ReadsAndWritesIds) {
  const auto tokenizer = integer_tokenizer(64, 0);
  const std::vector<std::uint32_t> ids = {0, 63, 5};
  EXPECT_EQ(tokenizer->decode(ids), "0 63 5");
  EXPECT_EQ(tokenizer->encode(" 0\n63 5 "), ids);
  EXPECT_NE(tokenizer->hash(), integer_tokenizer(65, 0)->hash());
  EXPECT_TRUE(contains(message_of([&] { tokenizer->encode("1 64"); }), "token 64 is outside"));
  for (const char* text : {"x", "-1", "1.5", "99999999999999"}) {
    message_of([&] { tokenizer->encode(text); });
  }
}

TEST(Tokenizer, SavedFolderLoadsTheSame) {
  for (const auto& tokenizer : {byte_tokenizer(), integer_tokenizer(64, 2)}) {
    TestFolder folder;
    tokenizer->save(folder.path());
    const auto loaded = load_tokenizer(folder.path());
    EXPECT_EQ(loaded->type(), tokenizer->type());
    EXPECT_EQ(loaded->hash(), tokenizer->hash());
    EXPECT_EQ(loaded->end_of_text(), tokenizer->end_of_text());
  }
}

TEST(Tokenizer, BadFilesAreErrorsThatNameThem) {
  TestFolder folder;
  const auto message = [&folder](const std::string& text) {
    write_text(folder / kTokenizerFile, text);
    const auto result = message_of([&folder] { load_tokenizer(folder.path()); });
    EXPECT_TRUE(contains(result, kTokenizerFile));
    return result;
  };
  EXPECT_TRUE(contains(message_of([&] { load_tokenizer(folder.path()); }), "holds no tokenizer"));
  message("");
  message("{\"type\"");
  message("[]");
  message("{\"type\": 3}");
  EXPECT_TRUE(contains(message("{\"type\": \"bite\"}"), "did you mean 'byte'?"));
  EXPECT_TRUE(contains(message("{\"type\": \"byte\", \"vocabsize\": 3}"), "'vocab_size'"));
  message("{\"type\": \"integer\", \"vocab_size\": 0}");
  message("{\"type\": \"integer\", \"vocab_size\": 10, \"end_of_text\": 10}");
  message("{\"type\": \"integer\", \"end_of_text\": 0}");
}

TEST(TokenizerOptions, ParseAndRefuse) {
  const auto parse = [](const char* text) {
    return parse_tokenizer_options(nlohmann::json::parse(text), "suite.json: tokenizer");
  };
  EXPECT_EQ(parse(R"({"type": "byte"})").type, "byte");
  const auto options = parse(R"({"type": "sentencepiece", "vocab_size": 2048})");
  EXPECT_EQ(options.vocab_size, 2048u);
  EXPECT_EQ(options.sample_bytes, TokenizerOptions().sample_bytes);
  EXPECT_EQ(to_json(parse(to_json(options).dump().c_str())), to_json(options));

  const auto file = parse(R"({"type": "hugging_face", "path": "a/tokenizer.json"})");
  EXPECT_EQ(file.path, "a/tokenizer.json");
  EXPECT_EQ(to_json(parse(to_json(file).dump().c_str())), to_json(file));

  const auto refused = [&parse](const char* text) { return message_of([&] { parse(text); }); };
  EXPECT_TRUE(contains(refused("{}"), "suite.json: tokenizer: key 'type' is missing"));
  EXPECT_TRUE(contains(refused("3"), "must be a JSON object, not number"));
  EXPECT_TRUE(contains(refused(R"({"type": "sentencepeice"})"), "did you mean 'sentencepiece'?"));
  EXPECT_TRUE(contains(refused(R"({"type": "byte", "vocab_size": 300})"), "no such setting"));
  EXPECT_TRUE(contains(refused(R"({"type": "sentencepiece", "vocab_size": 258})"),
                       "tokenizer.vocab_size: must be from 259 to 1000000, not 258"));
  EXPECT_TRUE(contains(refused(R"({"type": "sentencepiece", "vocab_size": -5})"), "not -5"));
  EXPECT_TRUE(
      contains(refused(R"({"type": "sentencepiece", "vocab_size": 1e4})"), "must be an integer"));
  EXPECT_TRUE(contains(refused(R"({"type": "hugging_face"})"), "key 'path' is missing"));
  EXPECT_TRUE(contains(refused(R"({"type": "hugging_face", "path": ""})"), "path: is empty"));
  EXPECT_TRUE(contains(refused(R"({"type": "hugging_face", "path": "x", "vocab_size": 300})"),
                       "the hugging_face tokenizer has no such setting"));
  EXPECT_TRUE(contains(refused(R"({"type": "sentencepiece", "path": "x"})"), "no such setting"));
  EXPECT_TRUE(contains(refused(R"({"type": "byte", "tpye": 1})"), "did you mean 'type'?"));
}

}  // namespace
}  // namespace oasis
