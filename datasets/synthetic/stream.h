// Which stream of random numbers belongs to item `index` of a split.
#pragma once

#include <cstdint>
#include <string_view>

#include "datasets/random.h"

namespace oasis {

// FNV-1a, 64 bits (Fowler, Noll, Vo): a hash of text that is the same everywhere.
inline std::uint64_t fnv1a(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : text) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  }
  return hash;
}

inline Random item_stream(std::uint64_t seed, std::string_view split, std::uint64_t index) {
  return Random(mix64(seed ^ fnv1a(split)), index);
}

}  // namespace oasis
