// What a tokenizer.json says, as far as this program supports it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace oasis {

// Text that is found before all else and becomes one token.
struct AddedToken {
  std::uint32_t id = 0;
  std::string content;
  bool single_word = false;  // not beside a letter, digit, mark or underscore
  bool lstrip = false;       // swallows white space on its left
  bool rstrip = false;
  bool normalized = false;  // looked for in the normalized text, in its own normalized form
  bool special = false;     // a control: decodes to nothing
};

enum class SplitBehavior {
  kIsolated,  // each match is a piece
  kRemoved,   // matches are dropped
};

// Cuts each piece of text into smaller ones, after the step before it.
struct PreTokenizerStep {
  std::string where;              // for messages: "tokenizer.json: pre_tokenizer.pattern"
  bool add_prefix_space = false;  // first puts a space before each piece that has none there
  std::string pattern;            // "" : does not cut
  bool literal = false;           // else a regular expression as regex_syntax.h has it
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;  // what matches and what does not change places
};

struct BpeDescription {
  std::unordered_map<std::string, std::uint32_t> vocab;  // in the letters of byte_letters.h
  std::vector<std::pair<std::string, std::string>> merges;
  std::optional<std::string> unk_token;  // for bytes whose letter the vocabulary lacks
  bool ignore_merges = false;            // a word that is a token is that token
};

struct HuggingFaceDescription {
  std::vector<AddedToken> added_tokens;
  bool nfc = false;
  std::vector<PreTokenizerStep> pre_tokenizer;
  BpeDescription bpe;
  // What the post-processor puts round a text.
  std::vector<std::uint32_t> before;
  std::vector<std::uint32_t> after;
};

// `text` is the content of a tokenizer.json, `where` its name for messages. Throws Error (bad
// input) naming the field, for what is malformed and for what is not supported.
HuggingFaceDescription parse_tokenizer_json(const std::string& text, const std::string& where);

}  // namespace oasis
