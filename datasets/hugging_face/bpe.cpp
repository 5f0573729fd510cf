#include "datasets/hugging_face/bpe.h"

#include <algorithm>
#include <bit>
#include <functional>

#include "datasets/hugging_face/byte_letters.h"
#include "datasets/random.h"
#include "support/error.h"

namespace oasis {
namespace {

constexpr std::uint32_t kNone = UINT32_MAX;
constexpr std::uint64_t kNoPair = UINT64_MAX;
constexpr std::size_t kMaxWordBytes = std::size_t{1} << 31;

std::uint64_t pair_of(std::uint32_t left, std::uint32_t right) {
  return std::uint64_t{left} << 32 | right;
}

}  // namespace

Bpe::Bpe(const BpeDescription& description, const std::string& where) {
  const auto& vocab = description.vocab;
  const auto id_of = [&](const std::string& token, std::size_t merge) {
    const auto found = vocab.find(token);
    if (found != vocab.end()) return found->second;
    throw bad_input("{}.merges[{}]: the token '{}' is not in the vocabulary", where, merge, token);
  };
  std::uint32_t unknown = kNone;
  if (description.unk_token) {
    const auto found = vocab.find(*description.unk_token);
    if (found == vocab.end()) {
      throw bad_input("{}.unk_token: '{}' is not in the vocabulary", where, *description.unk_token);
    }
    unknown = found->second;
  }
  for (unsigned byte = 0; byte < byte_ids_.size(); ++byte) {
    const auto found = vocab.find(byte_letter(static_cast<unsigned char>(byte)));
    byte_ids_[byte] = found == vocab.end() ? unknown : found->second;
  }

  const auto& merges = description.merges;
  merges_.assign(std::bit_ceil(merges.size() * 2 + 1), {kNoPair, 0, 0});
  for (std::size_t i = 0; i < merges.size(); ++i) {
    const auto& [left, right] = merges[i];
    insert({pair_of(id_of(left, i), id_of(right, i)), static_cast<std::uint32_t>(i),
            id_of(left + right, i)});
  }
  if (description.ignore_merges) {
    for (const auto& [token, id] : vocab) {
      if (const auto bytes = bytes_of_letters(token)) whole_words_.emplace(*bytes, id);
    }
  }
}

// The later of two equal merges counts.
void Bpe::insert(const Merge& merge) {
  const std::size_t mask = merges_.size() - 1;
  std::size_t at = mix64(merge.pair) & mask;
  while (merges_[at].pair != kNoPair && merges_[at].pair != merge.pair) at = (at + 1) & mask;
  merges_[at] = merge;
}

const Bpe::Merge* Bpe::find(std::uint32_t left, std::uint32_t right) const {
  const std::uint64_t pair = pair_of(left, right);
  const std::size_t mask = merges_.size() - 1;
  for (std::size_t at = mix64(pair) & mask; merges_[at].pair != kNoPair; at = (at + 1) & mask) {
    if (merges_[at].pair == pair) return &merges_[at];
  }
  return nullptr;
}

void Bpe::encode(std::string_view word, Scratch& scratch, std::vector<std::uint32_t>& ids) const {
  const bool short_word = word.size() <= WordCache::kMaxBytes;
  WordCache::Key key{};
  if (short_word) {
    key = WordCache::key_of(word);
    const auto known = scratch.cache.find(key);
    if (!known.empty()) {
      ids.insert(ids.end(), known.begin(), known.end());
      return;
    }
  }
  const std::size_t before = ids.size();
  const auto whole =
      whole_words_.empty() ? whole_words_.end() : whole_words_.find(std::string(word));
  if (whole != whole_words_.end()) {
    ids.push_back(whole->second);
  } else {
    merge_word(word, scratch, ids);
  }
  const std::size_t count = ids.size() - before;
  if (short_word && count > 0 && count <= WordCache::kMaxIds) {
    scratch.cache.store(key, std::span(ids).last(count));
  }
}

void Bpe::encode_bytes(std::string_view bytes, std::vector<std::uint32_t>& ids) const {
  for (const char byte : bytes) {
    const auto id = byte_ids_[static_cast<unsigned char>(byte)];
    if (id != kNone) ids.push_back(id);
  }
}

// The heap holds rank and place of each pair that could merge, the lowest first. An entry is out of
// date when the pair at its place has another rank by now: a place's text only grows, so its pair
// never comes back.
void Bpe::merge_word(std::string_view word, Scratch& scratch,
                     std::vector<std::uint32_t>& ids) const {
  if (word.size() > kMaxWordBytes) {
    throw bad_input("a run of {} bytes that the tokenizer does not divide is too long (limit: {})",
                    word.size(), kMaxWordBytes);
  }
  auto& symbols = scratch.symbols;
  auto& heap = scratch.heap;
  symbols.clear();
  heap.clear();
  for (const char byte : word) {
    const auto id = byte_ids_[static_cast<unsigned char>(byte)];
    if (id == kNone) continue;
    const auto at = static_cast<std::uint32_t>(symbols.size());
    symbols.push_back({id, at - 1, at + 1});
  }
  if (symbols.empty()) return;
  symbols.front().previous = kNone;
  symbols.back().next = kNone;

  const auto push = [&](std::uint32_t left) {
    const auto right = symbols[left].next;
    if (const auto* merge = find(symbols[left].id, symbols[right].id)) {
      heap.push_back(std::uint64_t{merge->rank} << 32 | left);
      std::push_heap(heap.begin(), heap.end(), std::greater<>());
    }
  };
  for (std::uint32_t i = 0; i + 1 < symbols.size(); ++i) push(i);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const auto top = heap.back();
    heap.pop_back();
    const auto left = static_cast<std::uint32_t>(top);
    const auto right = symbols[left].id == kNone ? kNone : symbols[left].next;
    if (right == kNone) continue;
    const auto* merge = find(symbols[left].id, symbols[right].id);
    if (merge == nullptr || merge->rank != top >> 32) continue;
    symbols[left] = {merge->id, symbols[left].previous, symbols[right].next};
    symbols[right].id = kNone;
    if (symbols[left].next != kNone) {
      symbols[symbols[left].next].previous = left;
      push(left);
    }
    if (symbols[left].previous != kNone) push(symbols[left].previous);
  }
  for (std::uint32_t i = 0; i != kNone; i = symbols[i].next) ids.push_back(symbols[i].id);
}

}  // namespace oasis
