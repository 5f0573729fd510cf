// Byte-pair encoding of words (Sennrich et al. 2016), on bytes (Radford et al. 2019).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "datasets/hugging_face/description.h"
#include "datasets/hugging_face/word_cache.h"

namespace oasis {

// Immutable; safe from several threads, each with a scratch of its own.
class Bpe {
 public:
  // Throws Error (bad input) naming `where` and the merge or token that does not fit.
  Bpe(const BpeDescription& description, const std::string& where);

  // What one thread needs; keeps the words that it has met.
  class Scratch {
    friend class Bpe;
    struct Symbol {
      std::uint32_t id;
      std::uint32_t previous;
      std::uint32_t next;
    };
    std::vector<Symbol> symbols;
    std::vector<std::uint64_t> heap;
    WordCache cache;
  };

  // Appends the ids of one word. As long as there are neighbours that can merge, those of the
  // lowest rank do, the leftmost first. Bytes without a token are left out.
  void encode(std::string_view word, Scratch& scratch, std::vector<std::uint32_t>& ids) const;

  // Appends the ids of bytes, none merged.
  void encode_bytes(std::string_view bytes, std::vector<std::uint32_t>& ids) const;

 private:
  struct Merge {
    std::uint64_t pair;  // left id · 2^32 + right id
    std::uint32_t rank;
    std::uint32_t id;
  };

  void insert(const Merge& merge);
  const Merge* find(std::uint32_t left, std::uint32_t right) const;
  void merge_word(std::string_view word, Scratch& scratch, std::vector<std::uint32_t>& ids) const;

  std::array<std::uint32_t, 256> byte_ids_;
  std::vector<Merge> merges_;                                   // a hash table with linear probing
  std::unordered_map<std::string, std::uint32_t> whole_words_;  // for ignore_merges
};

}  // namespace oasis
