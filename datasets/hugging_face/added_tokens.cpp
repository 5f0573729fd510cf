#include "datasets/hugging_face/added_tokens.h"

#include <algorithm>

#include "datasets/hugging_face/regex_syntax.h"
#include "datasets/utf8.h"

namespace oasis {
namespace {

// UTS 18's \w: alphabetic characters, marks, decimal digits, connectors and the two joiners.
// Alphabetic are letters, letter numbers, some marks and the circled and squared letters.
constexpr std::string_view kWordCharacter =
    "[_\u203f\u2040\u2054\ufe33\ufe34\ufe4d-\ufe4f\uff3f\u200c\u200d\u24b6-\u24e9"
    "\U0001f130-\U0001f149\U0001f150-\U0001f169\U0001f170-\U0001f189\\p{L}\\p{M}\\p{Nd}\\p{Nl}]";

std::size_t white_space_at_start(std::string_view text) {
  std::size_t bytes = 0;
  while (bytes < text.size()) {
    const auto character = text.substr(bytes, character_length(text.substr(bytes)));
    if (!is_white_space(code_point(character))) break;
    bytes += character.size();
  }
  return bytes;
}

std::size_t white_space_at_end(std::string_view text) {
  const std::size_t all = text.size();
  while (!text.empty()) {
    const auto length = last_character_length(text);
    if (!is_white_space(code_point(text.substr(text.size() - length)))) break;
    text.remove_suffix(length);
  }
  return all - text.size();
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens)
    : tokens_(std::move(tokens)),
      nodes_(1),
      word_character_(pcre2_syntax(kWordCharacter, "word characters"), Regex::Syntax::kPattern,
                      "word characters") {
  for (std::size_t i = 0; i < tokens_.size(); ++i) insert(i);
}

void AddedTokens::insert(std::size_t token) {
  const auto& content = tokens_[token].content;
  std::size_t node = 0;
  for (const char c : content) {
    const auto byte = static_cast<unsigned char>(c);
    const auto& children = nodes_[node].children;
    const auto child = std::find_if(children.begin(), children.end(),
                                    [byte](const auto& entry) { return entry.first == byte; });
    if (child != children.end()) {
      node = child->second;
      continue;
    }
    nodes_[node].children.emplace_back(byte, static_cast<std::uint32_t>(nodes_.size()));
    node = nodes_.size();
    nodes_.emplace_back();
  }
  if (!nodes_[node].token) nodes_[node].token = token;
  starts_[static_cast<unsigned char>(content.front())] = true;
}

std::optional<AddedTokens::Match> AddedTokens::find(std::string_view text, std::size_t from) const {
  for (std::size_t begin = from; begin < text.size(); ++begin) {
    if (!starts_[static_cast<unsigned char>(text[begin])]) continue;
    std::optional<Match> longest;
    std::size_t node = 0;
    for (std::size_t at = begin; at < text.size(); ++at) {
      const auto byte = static_cast<unsigned char>(text[at]);
      const auto& children = nodes_[node].children;
      const auto child = std::find_if(children.begin(), children.end(),
                                      [byte](const auto& entry) { return entry.first == byte; });
      if (child == children.end()) break;
      node = child->second;
      if (nodes_[node].token) longest = {&tokens_[*nodes_[node].token], begin, at + 1};
    }
    if (longest) return longest;
  }
  return std::nullopt;
}

bool AddedTokens::stands_alone(std::string_view text, const Match& match, RegexState& state) const {
  const auto is_word = [&](std::string_view character) {
    return word_character_.find(character, 0, state).has_value();
  };
  const auto left = text.substr(0, match.begin);
  const auto right = text.substr(match.end);
  return (left.empty() || !is_word(left.substr(left.size() - last_character_length(left)))) &&
         (right.empty() || !is_word(right.substr(0, character_length(right))));
}

void AddedTokens::split(std::string_view text, RegexState& state,
                        std::vector<Piece>& pieces) const {
  std::size_t done = 0;
  std::size_t from = 0;
  while (const auto match = tokens_.empty() ? std::nullopt : find(text, from)) {
    from = match->end;
    const auto& token = *match->token;
    if (token.single_word && !stands_alone(text, *match, state)) continue;
    std::size_t begin = match->begin;
    if (token.lstrip) begin = std::max(done, begin - white_space_at_end(text.substr(0, begin)));
    // A token of white space may lie in what the one before has swallowed. The Hugging Face library
    // gives both, and takes up the text after the later one.
    if (begin > done) pieces.push_back({text.substr(done, begin - done), std::nullopt});
    pieces.push_back({{}, token.id});
    done = match->end;
    if (token.rstrip) done += white_space_at_start(text.substr(done));
  }
  if (done < text.size()) pieces.push_back({text.substr(done), std::nullopt});
}

}  // namespace oasis
