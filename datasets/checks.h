// Whether the data home's files, and the cache's shards, are what they should be.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "datasets/folders.h"
#include "datasets/registry.h"

namespace oasis {

struct FileCheck {
  enum class State {
    kGood,
    kUnknown,  // there, but no hash is known to compare with
    kMissing,
    kDamaged,
  };
  std::filesystem::path path;
  State state = State::kMissing;
  std::string problem;  // for kDamaged: what differs
  std::string sha256;   // as found; "" when missing
};

const char* name_of(FileCheck::State state);  // good, no_known_hash, missing, damaged

// The hash to expect: the registry's, else the one recorded in SHA256SUMS beside the file, else "".
std::string expected_sha256(const DataFile& file, const DataFolders& folders);

// Adds or replaces a line of SHA256SUMS (sha256sum's format) beside the file.
void record_sha256(const std::filesystem::path& file, const std::string& sha256);

FileCheck check_file(const DataFile& file, const DataFolders& folders);
std::vector<FileCheck> check_dataset(const DatasetEntry& entry, const DataFolders& folders);

// Everything that was made in the cache: tokenizers, and tokenized splits by sizes and hashes. One
// entry for each folder; the problem names the file that is damaged.
std::vector<FileCheck> check_cache(const DataFolders& folders);

// Whether any of the data set's files is there.
bool is_present(const DatasetEntry& entry, const DataFolders& folders);

}  // namespace oasis
