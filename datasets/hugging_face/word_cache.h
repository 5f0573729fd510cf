// The ids of words met lately. Text repeats its words: nearly all are found here.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "datasets/random.h"

namespace oasis {

// One place for each hash: a newcomer takes it from who was there. Short words of few tokens only,
// so that an entry is one cache line. For one thread.
class WordCache {
 public:
  static constexpr std::size_t kMaxBytes = 23;
  static constexpr std::size_t kMaxIds = 9;

  // Words as the cache compares them: zero-padded bytes, and the length.
  using Key = std::array<std::uint64_t, 3>;

  // `word` has at most kMaxBytes.
  static Key key_of(std::string_view word) {
    std::array<char, sizeof(Key)> bytes{};
    std::memcpy(bytes.data(), word.data(), word.size());
    bytes.back() = static_cast<char>(word.size());
    Key key;
    std::memcpy(&key, bytes.data(), sizeof(Key));
    return key;
  }

  // Empty when it is not there; a word has at least one id.
  std::span<const std::uint32_t> find(const Key& key) const {
    const auto& entry = entries_[place(key)];
    return {entry.ids.data(), entry.key == key ? entry.count : 0};
  }

  // At most kMaxIds.
  void store(const Key& key, std::span<const std::uint32_t> ids) {
    auto& entry = entries_[place(key)];
    entry.key = key;
    entry.count = static_cast<std::uint32_t>(ids.size());
    std::memcpy(entry.ids.data(), ids.data(), ids.size_bytes());
  }

 private:
  static constexpr std::size_t kPlaces = std::size_t{1} << 15;

  struct alignas(64) Entry {
    Key key{};  // of no word: the length is 0
    std::uint32_t count = 0;
    std::array<std::uint32_t, kMaxIds> ids{};
  };
  static_assert(sizeof(Entry) == 64);

  static std::size_t place(const Key& key) {
    return mix64(key[0] ^ mix64(key[1] ^ mix64(key[2]))) % kPlaces;
  }

  std::vector<Entry> entries_{kPlaces};
};

}  // namespace oasis
