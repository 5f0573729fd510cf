#include "datasets/checks.h"

#include <algorithm>
#include <fstream>
#include <functional>
#include <map>

#include "datasets/shards.h"
#include "datasets/tokenizer.h"
#include "support/atomic_file.h"
#include "support/error.h"
#include "support/sha256.h"

namespace oasis {
namespace {

constexpr const char* kSumsFile = "SHA256SUMS";

// File name → hash. Lines that are not sha256sum's are left out.
std::map<std::string, std::string> read_sums(const std::filesystem::path& file) {
  std::map<std::string, std::string> sums;
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);) {
    if (line.size() > 66 && line[64] == ' ') sums[line.substr(66)] = line.substr(0, 64);
  }
  return sums;
}

// Sorted. What is being written, or was left by a process that was killed, is not finished.
std::vector<std::filesystem::path> finished_folders(const std::filesystem::path& parent) {
  std::vector<std::filesystem::path> folders;
  std::error_code error;
  for (const auto& item : std::filesystem::directory_iterator(parent, error)) {
    const bool unfinished = item.path().filename().string().find(".part-") != std::string::npos;
    if (item.is_directory() && !unfinished) folders.push_back(item.path());
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

// `hash_of_content` throws Error when something is wrong.
FileCheck check_folder(const std::filesystem::path& folder,
                       const std::function<std::string()>& hash_of_content) {
  FileCheck check{folder, FileCheck::State::kGood, "", ""};
  try {
    check.sha256 = hash_of_content();
  } catch (const Error& problem) {
    check.state = FileCheck::State::kDamaged;
    check.problem = problem.what();
  }
  return check;
}

}  // namespace

const char* name_of(FileCheck::State state) {
  switch (state) {
    case FileCheck::State::kGood:
      return "good";
    case FileCheck::State::kUnknown:
      return "no_known_hash";
    case FileCheck::State::kMissing:
      return "missing";
    case FileCheck::State::kDamaged:
      return "damaged";
  }
  return "";
}

std::string expected_sha256(const DataFile& file, const DataFolders& folders) {
  if (!file.sha256.empty()) return file.sha256;
  const auto path = folders.home / file.path;
  const auto sums = read_sums(path.parent_path() / kSumsFile);
  const auto found = sums.find(path.filename().string());
  return found == sums.end() ? "" : found->second;
}

void record_sha256(const std::filesystem::path& file, const std::string& sha256) {
  const auto sums_file = file.parent_path() / kSumsFile;
  auto sums = read_sums(sums_file);
  sums[file.filename().string()] = sha256;
  std::string text;
  for (const auto& [name, hash] : sums) text += fmt::format("{}  {}\n", hash, name);
  write_file_atomically(sums_file, text);
}

FileCheck check_file(const DataFile& file, const DataFolders& folders) {
  FileCheck check;
  check.path = folders.home / file.path;
  std::error_code error;
  if (!std::filesystem::is_regular_file(check.path, error)) return check;
  const auto bytes = std::filesystem::file_size(check.path, error);
  check.sha256 = sha256_file(check.path);
  const auto expected = expected_sha256(file, folders);
  if (file.bytes > 0 && bytes != file.bytes) {
    check.state = FileCheck::State::kDamaged;
    check.problem = fmt::format("{} bytes instead of {}", bytes, file.bytes);
  } else if (expected.empty()) {
    check.state = FileCheck::State::kUnknown;
  } else if (check.sha256 != expected) {
    check.state = FileCheck::State::kDamaged;
    check.problem = fmt::format("SHA-256 {} instead of {}", check.sha256, expected);
  } else {
    check.state = FileCheck::State::kGood;
  }
  return check;
}

std::vector<FileCheck> check_dataset(const DatasetEntry& entry, const DataFolders& folders) {
  std::vector<FileCheck> checks;
  for (const auto& file : entry.files) checks.push_back(check_file(file, folders));
  return checks;
}

std::vector<FileCheck> check_cache(const DataFolders& folders) {
  std::vector<FileCheck> checks;
  for (const auto& folder : finished_folders(folders.cache / "tokenizers")) {
    checks.push_back(check_folder(folder, [&folder] { return load_tokenizer(folder)->hash(); }));
  }
  for (const auto& folder : finished_folders(folders.cache / "shards")) {
    checks.push_back(check_folder(folder, [&folder] {
      const TokenSplit split(folder);
      split.verify();
      return split.info().content_hash();
    }));
  }
  return checks;
}

bool is_present(const DatasetEntry& entry, const DataFolders& folders) {
  return std::any_of(entry.files.begin(), entry.files.end(), [&folders](const DataFile& file) {
    std::error_code error;
    return std::filesystem::is_regular_file(folders.home / file.path, error);
  });
}

}  // namespace oasis
