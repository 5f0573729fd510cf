#include <gtest/gtest.h>

#include "datasets/hugging_face/hugging_face_tokenizer.h"
#include "datasets/hugging_face/test_tokenizer.h"
#include "datasets/random.h"
#include "datasets/test_support.h"

namespace oasis {
namespace {

using nlohmann::json;

// The small tokenizer with the value at a JSON pointer replaced.
json with(const std::string& pointer, const json& value) {
  auto description = small_tokenizer();
  description[json::json_pointer(pointer)] = value;
  return description;
}

std::string refused(const std::string& pointer, const json& value) {
  const auto text = with(pointer, value).dump();
  return message_of([&] { hugging_face_from_json(text, "t.json"); });
}

TEST(TokenizerJson, MergesAreStringsOrPairs) {
  auto description = small_tokenizer();
  auto& merges = description["model"]["merges"];
  for (auto& merge : merges) {
    merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
  }
  const auto tokenizer = hugging_face_from_json(description.dump(), "t.json");
  EXPECT_EQ(tokenizer->encode("hello world"),
            hugging_face_from_json(small_tokenizer().dump(), "t.json")->encode("hello world"));
}

TEST(TokenizerJson, OldFilesWithoutTypeAndNewerFieldsAreRead) {
  auto description = small_tokenizer();
  for (const char* field : {"type", "byte_fallback", "ignore_merges", "dropout", "unk_token"}) {
    description["model"].erase(field);
  }
  description["model"]["continuing_subword_prefix"] = "";
  description["model"]["end_of_word_suffix"] = "";
  description["pre_tokenizer"].erase("use_regex");
  for (const char* field : {"truncation", "padding", "normalizer", "post_processor"}) {
    description.erase(field);
  }
  EXPECT_EQ(hugging_face_from_json(description.dump(), "t.json")->encode("hello world").size(), 4u);
}

TEST(TokenizerJson, WhatIsNotSupportedIsRefusedByField) {
  EXPECT_EQ(refused("/model/type", "WordPiece"),
            "t.json: model: the type 'WordPiece' is not supported; supported: BPE");
  EXPECT_EQ(refused("/normalizer", {{"type", "Lowercase"}}),
            "t.json: normalizer: the type 'Lowercase' is not supported; supported: null, NFC, "
            "Sequence");
  EXPECT_TRUE(contains(
      refused("/normalizer", {{"type", "Sequence"}, {"normalizers", {{{"type", "NFKC"}}}}}),
      "t.json: normalizer.normalizers[0]: the type 'NFKC'"));
  EXPECT_TRUE(contains(refused("/pre_tokenizer", {{"type", "Metaspace"}}),
                       "t.json: pre_tokenizer: the type 'Metaspace'"));
  EXPECT_TRUE(
      contains(refused("/pre_tokenizer", nullptr), "t.json: pre_tokenizer: the type 'null'"));
  EXPECT_TRUE(contains(refused("/pre_tokenizer", {{"type", "Digits"}, {"individual_digits", true}}),
                       "t.json: pre_tokenizer: text that no ByteLevel turns into bytes"));
  EXPECT_TRUE(contains(refused("/decoder", nullptr), "t.json: decoder: the type 'null'"));
  EXPECT_TRUE(contains(refused("/post_processor", {{"type", "BertProcessing"}}),
                       "t.json: post_processor: the type 'BertProcessing'"));
  EXPECT_TRUE(contains(refused("/truncation", {{"max_length", 3}}), "t.json.truncation: a value"));
  EXPECT_TRUE(contains(refused("/model/dropout", 0.1), "t.json: model.dropout: a value"));
  EXPECT_TRUE(contains(refused("/model/fuse_unk", true), "t.json: model.fuse_unk: true"));
  EXPECT_TRUE(contains(refused("/model/byte_fallback", true), "model.byte_fallback: true"));
  EXPECT_TRUE(contains(refused("/model/end_of_word_suffix", "</w>"), "model.end_of_word_suffix"));
  EXPECT_TRUE(contains(refused("/version", "2.0"), "t.json: version: '2.0'"));
  EXPECT_TRUE(contains(refused("/vesion", "1.0"), "t.json: unknown key 'vesion'"));
}

TEST(TokenizerJson, SplitsAreRefusedByField) {
  const json byte_level = small_tokenizer()["pre_tokenizer"];
  const auto split = [&](const json& pattern, const char* behavior) {
    const json step = {
        {"type", "Split"}, {"pattern", pattern}, {"behavior", behavior}, {"invert", false}};
    return refused("/pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {step, byte_level}}});
  };
  const std::string place = "t.json: pre_tokenizer.pretokenizers[0]";
  EXPECT_TRUE(contains(split({{"Regex", "a"}}, "MergedWithNext"),
                       place + ".behavior: 'MergedWithNext' is not supported"));
  EXPECT_TRUE(contains(split({{"Regex", "\\w"}}, "Isolated"), place + ".pattern: '\\w' at byte 0"));
  EXPECT_TRUE(
      contains(split({{"Regex", "(a"}}, "Isolated"), place + ".pattern: not a regular expression"));
  EXPECT_TRUE(contains(split({{"Regex", ""}}, "Isolated"), place + ".pattern: is empty"));
  EXPECT_TRUE(contains(split({{"Regex", "a"}, {"String", "a"}}, "Isolated"), "must have either"));
  EXPECT_TRUE(contains(refused("/pre_tokenizer",
                               {{"type", "Sequence"}, {"pretokenizers", {byte_level, byte_level}}}),
                       "t.json: pre_tokenizer.pretokenizers[1]: a step after ByteLevel"));
}

TEST(TokenizerJson, VocabularyAndMergesMustFit) {
  EXPECT_TRUE(contains(refused("/model/vocab/h", -1), "t.json: model.vocab.h: must be from 0"));
  EXPECT_TRUE(contains(refused("/model/vocab/h", 4294967296), "must be from 0 to 999999"));
  EXPECT_TRUE(contains(refused("/model/vocab/h", "7"), "must be an integer, not string"));
  EXPECT_TRUE(contains(refused("/model/vocab/h", 'i'), "have the same id, 105"));
  EXPECT_TRUE(contains(refused("/model/vocab", json::object()), "t.json: model.vocab: must be"));
  EXPECT_TRUE(contains(refused("/model/merges/2", {"he", "zz"}),
                       "t.json: model.merges[2]: the token 'zz' is not in the vocabulary"));
  for (const json& merge : {json("he"), json("a b c"), json({"a"}), json({1, 2}), json()}) {
    EXPECT_TRUE(contains(refused("/model/merges/1", merge), "model.merges[1]: must be two tokens"));
  }
  EXPECT_TRUE(contains(refused("/model/unk_token", "<u>"), "t.json: model.unk_token: '<u>'"));
}

TEST(TokenizerJson, AddedTokensMustHaveTheIdsThatTheLibraryGivesThem) {
  const auto refused_tokens = [](const json& tokens) { return refused("/added_tokens", tokens); };
  EXPECT_TRUE(contains(refused_tokens(json::array({added_token(300, "<x>")})),
                       "t.json: added_tokens[0].id: '<x>' must have id 263, the next free one"));
  EXPECT_TRUE(contains(refused_tokens(json::array({added_token(263, "he")})), "as in model.vocab"));
  EXPECT_TRUE(
      contains(refused_tokens(json::array({added_token(263, "<x>"), added_token(264, "<x>")})),
               "t.json: added_tokens[1].content: '<x>' is that of [0] too"));
  EXPECT_TRUE(contains(refused_tokens(json::array({added_token(263, "")})),
                       "added_tokens[0].content: is empty"));
  EXPECT_TRUE(contains(refused("/added_tokens/0/lstrip", 1), "must be true or false, not number"));
  auto with_hole = small_tokenizer();
  with_hole["model"]["vocab"]["zz"] = 264;
  with_hole["added_tokens"] = json::array({added_token(264, "<|endoftext|>")});
  EXPECT_TRUE(contains(message_of([&] { hugging_face_from_json(with_hole.dump(), "t.json"); }),
                       "t.json: added_tokens[0].id: 264 is the id of 'zz' too"));
}

TEST(TokenizerJson, TemplatesMustFit) {
  const auto refused_template = [](const json& single, const json& special) {
    return refused("/post_processor", {{"type", "TemplateProcessing"},
                                       {"single", single},
                                       {"pair", json::array()},
                                       {"special_tokens", special}});
  };
  const json text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const json begin = {{"SpecialToken", {{"id", "<b>"}, {"type_id", 0}}}};
  const auto ids = [](const json& list) {
    return json{{"<b>", {{"id", "<b>"}, {"ids", list}, {"tokens", {"<b>"}}}}};
  };
  const std::string place = "t.json: post_processor.single";
  EXPECT_TRUE(contains(refused_template({begin, text}, json::object()), place + "[0]: '<b>'"));
  EXPECT_TRUE(contains(refused_template(json::array({begin}), ids(json::array({1}))),
                       place + ": has no Sequence A"));
  EXPECT_TRUE(contains(refused_template({text, text}, ids(json::array({1}))),
                       place + "[1]: this sequence"));
  EXPECT_TRUE(
      contains(refused_template({begin, text}, ids(json::array({264}))), "id 264 is of no token"));
  EXPECT_TRUE(
      contains(refused_template({begin, text}, ids(json::array({"x"}))), "must be an integer"));
  EXPECT_TRUE(contains(refused_template(3, ids(json::array({1}))), "single: must be an array"));
}

TEST(TokenizerJson, WhatIsNotJsonIsRefused) {
  const auto whole = small_tokenizer().dump();
  for (const std::string& text :
       {std::string(), whole.substr(0, whole.size() / 2), std::string("\xff"),
        std::string(100'000, '['), std::string("[]"), std::string("null")}) {
    EXPECT_TRUE(contains(message_of([&] { hugging_face_from_json(text, "t.json"); }), "t.json: "));
  }
}

constexpr int kTrials = 5000;

// A file either loads, and then works on any text, or is refused; nothing else happens.
void load_and_use(const std::string& file, int& loaded) {
  try {
    const auto tokenizer = hugging_face_from_json(file, "t.json");
    std::vector<std::uint32_t> ids;
    tokenizer->encode_with_special_tokens("hello  w\u00f6rld 12\n\xff<|endoftext|> e\u0301'll",
                                          ids);
    tokenizer->decode(ids);
    for (const auto id : ids) ASSERT_LT(id, tokenizer->vocab_size());
    ++loaded;
  } catch (const Error& error) {
    ASSERT_EQ(error.exit_status(), 2) << error.what();
  }
}

// Small, but with every kind of part.
json varied_tokenizer() {
  auto description = small_tokenizer();
  const json byte_level = description["pre_tokenizer"];
  description["normalizer"] = {{"type", "NFC"}};
  description["added_tokens"].push_back(
      added_token(264, "<x>", {"lstrip", "rstrip", "single_word", "normalized"}));
  description["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers",
       {{{"type", "Split"},
         {"pattern", {{"Regex", R"([^\r\n\p{L}\p{N}]?\p{L}+|(?i:'ll)|\p{N}{1,3}|\s+(?!\S)|\s+)"}}},
         {"behavior", "Isolated"},
         {"invert", false}},
        {{"type", "Digits"}, {"individual_digits", true}},
        byte_level}}};
  description["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single",
       {{{"SpecialToken", {{"id", "<x>"}, {"type_id", 0}}}},
        {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
      {"pair", json::array()},
      {"special_tokens", {{"<x>", {{"id", "<x>"}, {"ids", {264}}, {"tokens", {"<x>"}}}}}}};
  return description;
}

TEST(TokenizerJsonFuzz, ChangedBytes) {
  const auto valid = varied_tokenizer().dump();
  // Most of the file is the vocabulary; most changes should meet the rest.
  const auto vocabulary = valid.find("\"vocab\"");
  Random random(11);
  int loaded = 0;
  for (int trial = 0; trial < kTrials; ++trial) {
    auto file = valid;
    for (auto changes = 1 + random.below(3); changes > 0; --changes) {
      const auto at = random.below(random.below(4) == 0 ? file.size() : vocabulary);
      switch (random.below(4)) {
        case 0:
          file[at] = static_cast<char>(random.next());
          break;
        case 1:
          file[at] = R"({}[]",:\0129.-e^$*+?(|<)"[random.below(23)];
          break;
        case 2:
          file.erase(at, 1 + random.below(4));
          break;
        default:
          file.insert(at, file.substr(random.below(file.size()), random.below(8)));
      }
    }
    ASSERT_NO_FATAL_FAILURE(load_and_use(file, loaded)) << trial;
  }
  EXPECT_GT(loaded, kTrials / 100);
  EXPECT_LT(loaded, kTrials / 2);
}

TEST(TokenizerJsonFuzz, ChangedStructure) {
  const auto valid = varied_tokenizer();
  std::vector<json::json_pointer> places;
  const auto flat = valid.flatten();
  for (const auto& item : flat.items()) {
    // Each place and what holds it; of the vocabulary a few.
    if (item.key().starts_with("/model/vocab/") && item.key().size() > 14) continue;
    for (json::json_pointer place(item.key()); !place.empty(); place.pop_back()) {
      places.push_back(place);
    }
  }
  const std::vector<json> values = {nullptr,
                                    true,
                                    0,
                                    -1,
                                    1.5,
                                    1e300,
                                    262,
                                    "NFC",
                                    "",
                                    "A",
                                    "Split",
                                    "(?:",
                                    "Sequence",
                                    json::array(),
                                    json::object(),
                                    18446744073709551615ULL,
                                    "ByteLevel",
                                    "BPE"};
  Random random(12);
  int loaded = 0;
  for (int trial = 0; trial < kTrials; ++trial) {
    auto file = valid;
    for (auto changes = 1 + random.below(2); changes > 0; --changes) {
      const auto& place = places[random.below(places.size())];
      try {
        auto& parent = file.at(place.parent_pointer());
        if (random.below(5) == 0 && parent.is_object()) {
          parent.erase(place.back());
        } else if (random.below(3) == 0) {
          file.at(place) = valid.at(places[random.below(places.size())]);
        } else {
          file.at(place) = values[random.below(values.size())];
        }
      } catch (const json::exception&) {  // an earlier change took the place away
      }
    }
    ASSERT_NO_FATAL_FAILURE(load_and_use(file.dump(), loaded)) << trial;
  }
  EXPECT_GT(loaded, kTrials / 100);
  EXPECT_LT(loaded, kTrials / 2);
}

}  // namespace
}  // namespace oasis
