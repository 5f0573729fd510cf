// How long work tells its caller where it stands. Nothing here prints.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace oasis {

struct Progress {
  std::string what;         // "tokenizing books/train", "fetching train.jsonl"
  std::uint64_t done = 0;   // bytes
  std::uint64_t total = 0;  // bytes; 0 when not known
};

// May be empty. Called from the calling thread only, about ten times a second at most.
using ProgressCallback = std::function<void(const Progress&)>;

}  // namespace oasis
