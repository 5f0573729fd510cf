// What a data set is: its files or its generator, and how much of each split to take.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace oasis {

struct SplitDescription {
  // Relative to the data home, or absolute. Empty for generated data sets.
  std::vector<std::filesystem::path> files;
  // Take the first this many bytes of text, to the end of the line in which they are reached; 0:
  // all.
  std::uint64_t max_bytes = 0;
  // Generated data sets only: tokens (bigram_backcopy) or problems (word_problems) to generate.
  std::uint64_t count = 0;
};

struct DatasetDescription {
  enum class Kind { kFiles, kBigramBackcopy, kWordProblems };

  std::string name;  // as suites, tables and folders call it
  Kind kind = Kind::kFiles;
  std::map<std::string, SplitDescription> splits;  // train, valid, test

  // Generated data sets only.
  std::uint64_t seed = 0;
  std::uint64_t sequence_length = 0;  // bigram_backcopy: tokens from one BOS to before the next

  bool is_token_ids() const { return kind == Kind::kBigramBackcopy; }
  // Throws Error (bad input) listing the splits there are.
  const SplitDescription& split(const std::string& split_name) const;
};

// A suite's `dataset` field:
//   "books"                                              a registry name
//   {"name": "books", "max_bytes": {"train": 20000000}}  a registry data set, cut
//   {"name": "bigram_backcopy", "seed": 3, "sequence_length": 128, "count": {"train": 1000000}}
//   {"name": "mine", "files": {"train": ["a.jsonl.zst"], "valid": ["b.txt"]}, "max_bytes": {…}}
// `where` names file and field in messages. Throws Error (bad input), with the nearest name for an
// unknown data set or key.
DatasetDescription parse_dataset(const nlohmann::json& json, const std::string& where);

// Complete and canonical: equal descriptions give equal JSON. Files by their given paths; the
// content enters keys through SplitInfo::content_hash or source_hashes().
nlohmann::json to_json(const DatasetDescription& description);

}  // namespace oasis
