#include "datasets/hugging_face/hugging_face_tokenizer.h"

#include <gtest/gtest.h>

#include <thread>

#include "datasets/hugging_face/test_tokenizer.h"
#include "datasets/random.h"
#include "datasets/test_support.h"

namespace oasis {
namespace {

using Ids = std::vector<std::uint32_t>;
using nlohmann::json;

TokenizerPtr tokenizer_of(const json& description) {
  return hugging_face_from_json(description.dump(), "t.json");
}

// Of small_tokenizer(): hello 259, Ġwo 261, rl 262; <|endoftext|> 263.
TEST(HuggingFaceTokenizer, EncodesAndDecodes) {
  const auto tokenizer = tokenizer_of(small_tokenizer());
  EXPECT_EQ(tokenizer->type(), "hugging_face");
  EXPECT_EQ(tokenizer->vocab_size(), 264u);
  EXPECT_EQ(tokenizer->end_of_text(), 263u);
  const Ids ids = {259, 261, 262, 'd', '!'};
  EXPECT_EQ(tokenizer->encode("hello world!"), ids);
  EXPECT_EQ(tokenizer->decode(ids), "hello world!");
  EXPECT_EQ(tokenizer->token_bytes(259), 5u);
  EXPECT_EQ(tokenizer->token_bytes(261), 3u);
  EXPECT_EQ(tokenizer->encode(""), Ids{});
  EXPECT_EQ(tokenizer->encode("a<|endoftext|>hello"), (Ids{'a', 263, 259}));
  EXPECT_EQ(tokenizer->decode(Ids{'a', 263, 259}), "ahello");
  EXPECT_EQ(tokenizer->token_bytes(263), 0u);
  EXPECT_TRUE(contains(message_of([&] { tokenizer->decode(Ids{264}); }), "token 264 is outside"));
}

TEST(HuggingFaceTokenizer, IsLosslessForAnyBytes) {
  const auto tokenizer = tokenizer_of(small_tokenizer());
  Random random(7);
  const std::vector<std::string> parts = {"hello", " world", "é", "\xff", "\xe2\x82", "日", "\n"};
  for (int trial = 0; trial < 500; ++trial) {
    std::string text;
    for (auto left = random.below(12); left > 0; --left) {
      text += random.below(2) == 0 ? parts[random.below(parts.size())]
                                   : std::string(1, static_cast<char>(random.next()));
    }
    ASSERT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
  }
  EXPECT_EQ(tokenizer->encode("hello\xffhello"), (Ids{259, 255, 259}));
}

TEST(HuggingFaceTokenizer, NormalizesWhereTheFileAsks) {
  auto description = small_tokenizer({{"Ã", "©"}});  // é
  EXPECT_EQ(tokenizer_of(description)->encode("e\u0301").size(), 3u);
  description["normalizer"] = {{"type", "NFC"}};
  EXPECT_EQ(tokenizer_of(description)->encode("e\u0301"), Ids{256});
  description["normalizer"] = {{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}}}};
  EXPECT_EQ(tokenizer_of(description)->encode("e\u0301"), Ids{256});
}

TEST(HuggingFaceTokenizer, NormalizedTokensAreFoundInNormalizedText) {
  auto description = small_tokenizer({});
  description["normalizer"] = {{"type", "NFC"}};
  description["added_tokens"].push_back(added_token(257, "e\u0301q", {"normalized"}));
  description["added_tokens"].push_back(added_token(258, "e\u0301w", {}));
  const auto tokenizer = tokenizer_of(description);
  EXPECT_EQ(tokenizer->encode("e\u0301q\u00e9q"), (Ids{257, 257}));
  EXPECT_EQ(tokenizer->encode("e\u0301w\u00e9w"), (Ids{258, 0xc3, 0xa9, 'w'}));
  // And decode so, where é is the letter of byte 0xe9.
  EXPECT_EQ(tokenizer->decode(Ids{257, 258}), "\xe9qe\u0301w");
}

TEST(HuggingFaceTokenizer, SpecialTokensStandRoundATextWhereAskedFor) {
  auto description = small_tokenizer();
  auto& post = description["post_processor"];
  const auto special = [](const char* id) {
    return json{{"SpecialToken", {{"id", id}, {"type_id", 0}}}};
  };
  const json text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const json processor = {{"type", "TemplateProcessing"},
                          {"single", {special("<b>"), text, special("<e>"), special("<b>")}},
                          {"pair", json::array()},
                          {"special_tokens",
                           {{"<b>", {{"id", "<b>"}, {"ids", {263, 5}}, {"tokens", {"<b>", "x"}}}},
                            {"<e>", {{"id", "<e>"}, {"ids", {6}}, {"tokens", {"<e>"}}}}}}};
  post = {{"type", "Sequence"}, {"processors", {post, processor}}};
  const auto tokenizer = tokenizer_of(description);
  Ids ids = {1};
  tokenizer->encode_with_special_tokens("hello", ids);
  EXPECT_EQ(ids, (Ids{1, 263, 5, 259, 6, 263, 5}));
  EXPECT_EQ(tokenizer->encode("hello"), Ids{259});

  Ids plain;
  tokenizer_of(small_tokenizer())->encode_with_special_tokens("hello", plain);
  EXPECT_EQ(plain, Ids{259});
}

TEST(HuggingFaceTokenizer, EndOfTextIsTheConfigurationsElseAUsualOne) {
  TestFolder folder;
  auto description = small_tokenizer();
  description["added_tokens"].push_back(added_token(264, "<stop>"));
  write_text(folder / kHuggingFaceFile, description.dump());
  EXPECT_EQ(load_hugging_face(folder.path())->end_of_text(), 263u);
  EXPECT_EQ(load_tokenizer(folder.path())->end_of_text(), 263u);
  const auto config = folder / "tokenizer_config.json";
  write_text(config, R"({"eos_token": "<stop>", "chat_template": "x"})");
  EXPECT_EQ(load_hugging_face(folder / kHuggingFaceFile)->end_of_text(), 264u);
  write_text(config, R"({"eos_token": {"content": "<stop>", "lstrip": false}})");
  EXPECT_EQ(load_hugging_face(folder.path())->end_of_text(), 264u);
  write_text(config, R"({"eos_token": null})");
  EXPECT_EQ(load_hugging_face(folder.path())->end_of_text(), 263u);

  const auto refused = [&] { return message_of([&] { load_hugging_face(folder.path()); }); };
  write_text(config, R"({"eos_token": "<halt>"})");
  EXPECT_TRUE(contains(refused(), "'<halt>' is not among added_tokens"));
  write_text(config, R"({"eos_token": 3})");
  EXPECT_TRUE(contains(refused(), "tokenizer_config.json: eos_token: must be a string"));
  write_text(config, "[");
  EXPECT_TRUE(contains(refused(), "tokenizer_config.json: must be a JSON object"));
  std::filesystem::remove(config);
  description["added_tokens"] = json::array();
  write_text(folder / kHuggingFaceFile, description.dump());
  EXPECT_TRUE(contains(refused(), "no end-of-text token; name one"));
}

TEST(HuggingFaceTokenizer, SavedFolderLoadsTheSameAndDamageIsFound) {
  TestFolder folder;
  write_text(folder / "original" / kHuggingFaceFile, small_tokenizer().dump(1));
  const auto tokenizer = load_tokenizer(folder / "original");
  std::filesystem::create_directory(folder / "saved");
  tokenizer->save(folder / "saved");
  const auto loaded = load_tokenizer(folder / "saved");
  EXPECT_EQ(loaded->hash(), tokenizer->hash());
  EXPECT_EQ(loaded->encode("hello"), tokenizer->encode("hello"));
  EXPECT_EQ(read_text(folder / "saved" / kHuggingFaceFile), small_tokenizer().dump(1));
  write_text(folder / "saved" / kHuggingFaceFile, small_tokenizer({}).dump(1));
  EXPECT_TRUE(contains(message_of([&] { load_tokenizer(folder / "saved"); }),
                       "tokenizer.json: damaged: its SHA-256 is"));
  EXPECT_TRUE(contains(message_of([&] { load_hugging_face(folder / "none"); }), "no such file"));
}

TEST(HuggingFaceTokenizer, TextCutWhereAllowedGivesTheIdsOfTheWhole) {
  const auto tokenizer = tokenizer_of(small_tokenizer());
  const std::string text = "hello\nhello\n\nhello \n hello\n<|endoftext|>\n'\n'";
  int cuts = 0;
  for (std::size_t at = 1; at < text.size(); ++at) {
    if (!tokenizer->can_cut(text, at)) continue;
    ++cuts;
    auto ids = tokenizer->encode(text.substr(0, at));
    tokenizer->encode(std::string_view(text).substr(at), ids);
    ASSERT_EQ(ids, tokenizer->encode(text)) << at;
  }
  EXPECT_EQ(cuts, 4);
  auto description = small_tokenizer();
  description["added_tokens"].push_back(added_token(264, "<x>", {"lstrip"}));
  EXPECT_FALSE(tokenizer_of(description)->can_cut("a\nb", 2));
}

TEST(HuggingFaceTokenizer, ThreadsShareIt) {
  const auto tokenizer = tokenizer_of(small_tokenizer());
  const auto expected = tokenizer->encode("hello world <|endoftext|>");
  std::vector<std::jthread> threads;
  std::atomic<int> same = 0;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 500; ++round) {
        same += tokenizer->encode("hello world <|endoftext|>") == expected;
      }
    });
  }
  threads.clear();
  EXPECT_EQ(same, 2000);
}

}  // namespace
}  // namespace oasis
