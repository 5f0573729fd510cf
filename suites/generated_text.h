// A generated text, from its tokens one by one: where it ends, and what of it can be shown.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "datasets/tokenizer.h"

namespace oasis {

// What ends a text, besides a limit on its tokens.
class TextEnd {
 public:
  // The end-of-text token and `stops`. A stop string that is one control token of the vocabulary
  // (<|im_end|>), which decodes to nothing, is met as that token too. Throws Error (bad input) for
  // an empty stop string.
  TextEnd(const Tokenizer& tokenizer, std::vector<std::string> stops);

  bool is_end(std::uint32_t token) const;
  const std::vector<std::string>& stops() const { return stops_; }

 private:
  std::vector<std::string> stops_;
  std::vector<std::uint32_t> tokens_;
};

class GeneratedText {
 public:
  enum class End { kNone, kEndOfText, kStop };

  // Both must outlive the text.
  GeneratedText(const Tokenizer& tokenizer, const TextEnd& end)
      : tokenizer_(&tokenizer), end_by_(&end) {}

  // Takes the next token; whether the text goes on. Where a stop string appears, the text ends in
  // front of the first one, whatever the tokens that it lay across.
  bool add(std::uint32_t token);

  // The bytes so far, stop string and end-of-text token left out.
  const std::string& text() const { return text_; }
  std::int64_t tokens() const { return tokens_; }  // generated, the ending one included
  End end() const { return end_; }

  // What was not taken before and will stay: whole characters, and nothing that may yet turn out to
  // begin a stop string. `last`: no token follows, so everything.
  std::string take(bool last);

 private:
  std::size_t stable_length() const;

  const Tokenizer* tokenizer_;
  const TextEnd* end_by_;
  std::string text_;
  std::size_t taken_ = 0;
  std::int64_t tokens_ = 0;
  End end_ = End::kNone;
};

// Bytes that are not UTF-8 become U+FFFD, one for each.
std::string valid_utf8(std::string_view bytes);

}  // namespace oasis
