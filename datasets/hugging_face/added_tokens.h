// Finds added tokens in text.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "datasets/hugging_face/description.h"
#include "datasets/hugging_face/regex.h"

namespace oasis {

// Immutable; safe from several threads, each with a regex state of its own.
class AddedTokens {
 public:
  // Of equal contents the first counts. Contents are matched as they are given.
  explicit AddedTokens(std::vector<AddedToken> tokens);

  struct Piece {
    std::string_view text;            // between tokens: a view of the text given
    std::optional<std::uint32_t> id;  // of a token; its text is not told
  };

  // Cuts `text` (valid UTF-8) into tokens and what lies between them, from left to right; of the
  // tokens that start at the first possible place the longest is taken. No piece between tokens is
  // empty.
  void split(std::string_view text, RegexState& state, std::vector<Piece>& pieces) const;

 private:
  // A trie over the contents' bytes.
  struct Node {
    std::vector<std::pair<unsigned char, std::uint32_t>> children;
    std::optional<std::size_t> token;
  };
  struct Match {
    const AddedToken* token;
    std::size_t begin;
    std::size_t end;
  };

  void insert(std::size_t token);
  std::optional<Match> find(std::string_view text, std::size_t from) const;
  bool stands_alone(std::string_view text, const Match& match, RegexState& state) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_;
  std::array<bool, 256> starts_{};  // first bytes
  Regex word_character_;
};

}  // namespace oasis
