#include "suites/generated_text.h"

#include <algorithm>
#include <utility>

#include "datasets/utf8.h"
#include "support/error.h"

namespace oasis {

TextEnd::TextEnd(const Tokenizer& tokenizer, std::vector<std::string> stops)
    : stops_(std::move(stops)), tokens_{tokenizer.end_of_text()} {
  for (const auto& stop : stops_) {
    if (stop.empty()) throw bad_input("a stop string is empty");
    const auto ids = tokenizer.encode(stop);
    if (ids.size() == 1 && tokenizer.token_bytes(ids[0]) == 0) tokens_.push_back(ids[0]);
  }
}

bool TextEnd::is_end(std::uint32_t token) const {
  return std::ranges::find(tokens_, token) != tokens_.end();
}

bool GeneratedText::add(std::uint32_t token) {
  ++tokens_;
  if (end_by_->is_end(token)) {
    end_ = End::kEndOfText;
    return false;
  }
  const auto before = text_.size();
  // A model may have more rows than its tokenizer has ids.
  if (token < tokenizer_->vocab_size()) text_ += tokenizer_->decode({&token, 1});
  auto cut = std::string::npos;
  for (const auto& stop : end_by_->stops()) {
    const auto from = before < stop.size() ? 0 : before - stop.size() + 1;
    cut = std::min(cut, text_.find(stop, from));
  }
  if (cut == std::string::npos) return true;
  text_.resize(cut);
  end_ = End::kStop;
  return false;
}

std::size_t GeneratedText::stable_length() const {
  std::size_t held = 0;
  for (const auto& stop : end_by_->stops()) {
    for (auto n = std::min(stop.size() - 1, text_.size()); n > held; --n) {
      if (text_.ends_with(std::string_view(stop).substr(0, n))) held = n;
    }
  }
  // Up to three bytes of a character whose last is to come.
  const std::string_view stable(text_.data(), text_.size() - held);
  for (std::size_t n = 1; n <= std::min<std::size_t>(3, stable.size()); ++n) {
    const auto first = static_cast<unsigned char>(stable[stable.size() - n]);
    if (first < 0x80) break;
    if (first < 0xC0) continue;
    const std::size_t whole = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    if (n < whole) return stable.size() - n;
    break;
  }
  return stable.size();
}

std::string GeneratedText::take(bool last) {
  const auto upto = last || end_ != End::kNone ? text_.size() : stable_length();
  if (upto <= taken_) return {};
  auto piece = text_.substr(taken_, upto - taken_);
  taken_ = upto;
  return piece;
}

std::string valid_utf8(std::string_view bytes) {
  std::string text;
  while (!bytes.empty()) {
    const auto valid = valid_prefix(bytes);
    text += bytes.substr(0, valid);
    bytes.remove_prefix(valid);
    if (bytes.empty()) break;
    text += "\xEF\xBF\xBD";
    bytes.remove_prefix(1);
  }
  return text;
}

}  // namespace oasis
