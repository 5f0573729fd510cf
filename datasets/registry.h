// The data sets that are known by name: what they are, where they come from, under which licence.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "datasets/description.h"

namespace oasis {

constexpr std::string_view kDataHome = "$OASIS_DATA_HOME";

// A file of the data home, as its origin published it.
struct DataFile {
  std::string path;         // relative to the data home
  std::uint64_t bytes = 0;  // 0: not known
  // 64 digits, or "" where no published value is known: fetch then records what it got in
  // SHA256SUMS beside the file, and later checks compare with that.
  std::string sha256;
};

// Something to download: a data file itself, or an archive that holds data files.
struct Download {
  std::vector<std::string> urls;  // tried in order; the same bytes
  DataFile file;                  // where it is stored
  // Archive member → path relative to the data home; empty: the download is the data file itself.
  std::vector<std::pair<std::string, std::string>> members = {};
};

struct DatasetEntry {
  DatasetDescription description;
  std::string title = {};
  std::string origin = {};  // where the real data come from
  std::string licence = {};
  std::string citation = {};             // "" for none
  std::vector<DataFile> files = {};      // what the splits read; empty for generated data sets
  std::vector<Download> downloads = {};  // empty: not fetchable by this program
  // What a user must know before use; "" for nothing. kDataHome in it stands for the data folder.
  std::string note = {};

  std::string note_for(const std::filesystem::path& home) const;
};

const std::vector<DatasetEntry>& dataset_registry();

// nullptr when unknown.
const DatasetEntry* find_dataset(const std::string& name);

// Throws Error (bad input) with the nearest name when unknown.
const DatasetEntry& dataset_entry(const std::string& name);

std::vector<std::string> dataset_names();

}  // namespace oasis
