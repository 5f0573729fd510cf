#include <algorithm>
#include <nlohmann/json.hpp>

#include "datasets/hugging_face/description.h"
#include "datasets/hugging_face/json_parts.h"
#include "datasets/json_fields.h"
#include "datasets/tokenizer.h"
#include "support/error.h"

namespace oasis {
namespace {

using nlohmann::json;

void must_be_absent(const JsonFields& fields, const std::string& name, const std::string& where) {
  if (fields.has(name) && !fields.at(name).is_null()) {
    throw unsupported(fmt::format("{}.{}", where, name), "a value", "null");
  }
}

std::vector<AddedToken> read_added_tokens(const json& array, const std::string& where) {
  std::vector<AddedToken> tokens;
  for (std::size_t i = 0; i < array.size(); ++i) {
    const auto place = fmt::format("{}[{}]", where, i);
    const JsonFields fields(
        array[i], place,
        {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
    AddedToken token;
    token.id = static_cast<std::uint32_t>(fields.integer("id", 0, kMaxVocabSize - 1));
    token.content = fields.text("content");
    if (token.content.empty()) throw bad_input("{}.content: is empty", place);
    token.single_word = fields.boolean("single_word");
    token.lstrip = fields.boolean("lstrip");
    token.rstrip = fields.boolean("rstrip");
    token.normalized = fields.boolean("normalized");
    token.special = fields.boolean("special");
    tokens.push_back(std::move(token));
  }
  return tokens;
}

void read_vocab(const json& object, const std::string& where, BpeDescription& bpe) {
  if (!object.is_object() || object.empty()) {
    throw bad_input("{}: must be an object of at least one token", where);
  }
  std::unordered_map<std::uint32_t, std::string> by_id;
  for (const auto& item : object.items()) {
    const auto id = static_cast<std::uint32_t>(
        json_integer(item.value(), fmt::format("{}.{}", where, item.key()), 0, kMaxVocabSize - 1));
    const auto [other, fresh] = by_id.emplace(id, item.key());
    if (!fresh) {
      throw bad_input("{}: '{}' and '{}' have the same id, {}", where, other->second, item.key(),
                      id);
    }
    bpe.vocab.emplace(item.key(), id);
  }
}

// "left right" or ["left", "right"].
std::pair<std::string, std::string> read_merge(const json& merge, const std::string& where,
                                               std::size_t index) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
    return {merge[0].get<std::string>(), merge[1].get<std::string>()};
  }
  if (merge.is_string()) {
    const auto& text = merge.get_ref<const std::string&>();
    const auto space = text.find(' ');
    if (space != std::string::npos && text.find(' ', space + 1) == std::string::npos) {
      return {text.substr(0, space), text.substr(space + 1)};
    }
  }
  throw bad_input("{}[{}]: must be two tokens, in an array or with one space between them", where,
                  index);
}

BpeDescription read_model(const json& object, const std::string& where) {
  // Old files do not say BPE.
  if (object.is_object() && object.contains("type") && type_of(object, where) != "BPE") {
    throw unsupported(where, fmt::format("the type '{}'", type_of(object, where)), "BPE");
  }
  const JsonFields fields(
      object, where,
      {"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
       "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"});
  if (fields.has("dropout") && fields.at("dropout") != json(0.0)) {
    must_be_absent(fields, "dropout", where);
  }
  for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (fields.has(name) && fields.at(name) != json("")) must_be_absent(fields, name, where);
  }
  for (const char* name : {"fuse_unk", "byte_fallback"}) {
    if (fields.boolean_or(false, name)) {
      throw unsupported(fmt::format("{}.{}", where, name), "true", "false");
    }
  }
  BpeDescription bpe;
  bpe.ignore_merges = fields.boolean_or(false, "ignore_merges");
  if (fields.has("unk_token") && !fields.at("unk_token").is_null()) {
    bpe.unk_token = fields.text("unk_token");
  }
  read_vocab(fields.at("vocab"), where + ".vocab", bpe);
  const auto& merges = fields.array("merges");
  for (std::size_t i = 0; i < merges.size(); ++i) {
    bpe.merges.push_back(read_merge(merges[i], where + ".merges", i));
  }
  return bpe;
}

// The Hugging Face library gives added tokens their ids itself: the vocabulary's own for what is in
// it, else the next free one. A file that says otherwise would mean other ids there than here.
void check_added_ids(const HuggingFaceDescription& description, const std::string& where) {
  const auto& vocab = description.bpe.vocab;
  const auto vocab_size = static_cast<std::uint32_t>(vocab.size());
  std::uint32_t next = vocab_size;
  std::unordered_map<std::string, std::size_t> seen;
  std::unordered_map<std::uint32_t, std::string> by_id;
  for (const auto& [token, id] : vocab) by_id.emplace(id, token);
  for (std::size_t i = 0; i < description.added_tokens.size(); ++i) {
    const auto& token = description.added_tokens[i];
    const auto [first, fresh] = seen.emplace(token.content, i);
    if (!fresh) {
      throw bad_input("{}[{}].content: '{}' is that of [{}] too", where, i, token.content,
                      first->second);
    }
    const auto known = vocab.find(token.content);
    const auto expected = known != vocab.end() ? known->second : next;
    if (token.id != expected) {
      throw bad_input("{}[{}].id: '{}' must have id {}, {}, not {}", where, i, token.content,
                      expected, known != vocab.end() ? "as in model.vocab" : "the next free one",
                      token.id);
    }
    const auto [owner, free] = by_id.emplace(token.id, token.content);
    if (!free && owner->second != token.content) {
      throw bad_input("{}[{}].id: {} is the id of '{}' too", where, i, token.id, owner->second);
    }
    if (token.id >= vocab_size) next = std::max(next, token.id + 1);
  }
}

}  // namespace

HuggingFaceDescription parse_tokenizer_json(const std::string& text, const std::string& where) {
  const auto root = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (root.is_discarded()) throw bad_input("{}: not valid JSON; is it whole?", where);
  const JsonFields fields(root, where,
                          {"version", "truncation", "padding", "added_tokens", "normalizer",
                           "pre_tokenizer", "post_processor", "decoder", "model"});
  if (fields.has("version") && fields.text("version") != "1.0") {
    throw unsupported(where + ": version", fmt::format("'{}'", fields.text("version")), "1.0");
  }
  must_be_absent(fields, "truncation", where);
  must_be_absent(fields, "padding", where);
  const auto place = [&where](const char* field) { return fmt::format("{}: {}", where, field); };

  HuggingFaceDescription description;
  description.bpe = read_model(fields.at("model"), place("model"));
  if (fields.has("added_tokens")) {
    description.added_tokens =
        read_added_tokens(fields.array("added_tokens"), place("added_tokens"));
    check_added_ids(description, place("added_tokens"));
  }
  if (fields.has("normalizer")) {
    read_normalizer(fields.at("normalizer"), place("normalizer"), description);
  }
  read_pre_tokenizer(fields.at("pre_tokenizer"), place("pre_tokenizer"), description);
  if (fields.has("post_processor")) {
    read_post_processor(fields.at("post_processor"), place("post_processor"), description);
  }
  check_decoder(fields.at("decoder"), place("decoder"));
  return description;
}

}  // namespace oasis
