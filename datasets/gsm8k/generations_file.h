// Generated texts from elsewhere.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace oasis::gsm8k {

struct Generation {
  std::int64_t problem = 0;  // its place in the problem file, from 0
  std::string text;
};

// A file (.jsonl, .jsonl.zst) of objects with `index`, the problem's place from 0 (or `id`, which
// means the same), and `text`, what was generated after the prompt; other fields are ignored. In
// the file's order; it need not cover all of the `problems` problems. Throws Error (bad input)
// naming file, line and field: also for an index twice or out of range, and for a file without any.
std::vector<Generation> read_generations(const std::filesystem::path& file, std::size_t problems);

}  // namespace oasis::gsm8k
