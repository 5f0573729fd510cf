#include "datasets/sources.h"

#include <nlohmann/json.hpp>

#include "datasets/prepare.h"
#include "datasets/registry.h"
#include "datasets/synthetic/word_problems.h"
#include "support/error.h"
#include "support/sha256.h"

namespace oasis {
namespace {

// Raise it when a generator's output changes: it enters every key.
constexpr int kGeneratorVersion = 1;

}  // namespace

std::filesystem::path locate(const DatasetDescription& description,
                             const std::filesystem::path& file, const DataFolders& folders) {
  auto path = file.is_absolute() ? file : folders.home / file;
  std::error_code error;
  if (std::filesystem::is_regular_file(path, error)) return path;
  const auto* entry = find_dataset(description.name);
  const std::string fetch =
      entry != nullptr && !entry->downloads.empty()
          ? fmt::format(", or fetch it with: oasis data fetch {}", description.name)
          : "";
  const std::string note =
      entry != nullptr && !entry->note.empty() ? fmt::format(" ({})", entry->note) : "";
  if (!file.is_absolute() && !std::filesystem::is_directory(folders.home, error)) {
    throw bad_input(
        "data set '{}': the data folder {} does not exist; give another with --data-home or "
        "OASIS_DATA_HOME{}{}",
        description.name, folders.home.string(), fetch, note);
  }
  throw bad_input(
      "data set '{}': no file {}; give the folder that holds it with --data-home or "
      "OASIS_DATA_HOME{}{}",
      description.name, path.string(), fetch, note);
}

void for_each_piece(const DatasetDescription& description, const std::string& split,
                    const DataFolders& folders,
                    const std::function<void(TextPiece&&, std::uint64_t)>& take) {
  const auto& wanted = description.split(split);
  if (description.kind == DatasetDescription::Kind::kWordProblems) {
    for (std::uint64_t i = 0; i < wanted.count; ++i) {
      take({document(word_problem(description.seed, split, i)), true}, 0);
    }
    return;
  }
  std::uint64_t bytes = 0;
  std::uint64_t files_done = 0;
  for (const auto& file : wanted.files) {
    const auto path = locate(description, file, folders);
    const auto reader = open_documents(path);
    TextPiece piece;
    while (reader->next(piece)) {
      bool last = false;
      if (wanted.max_bytes > 0 && bytes + piece.text.size() >= wanted.max_bytes) {
        const auto newline = piece.text.find('\n', wanted.max_bytes - bytes - 1);
        if (newline != std::string::npos) piece.text.resize(newline + 1);
        piece.ends_document = true;
        last = true;
      }
      bytes += piece.text.size();
      take(std::move(piece), files_done + reader->position());
      if (last) return;
    }
    files_done += std::filesystem::file_size(path);
  }
}

std::uint64_t source_file_bytes(const DatasetDescription& description, const std::string& split,
                                const DataFolders& folders) {
  std::uint64_t bytes = 0;
  for (const auto& file : description.split(split).files) {
    bytes += std::filesystem::file_size(locate(description, file, folders));
  }
  return bytes;
}

std::vector<std::pair<std::string, std::string>> source_hashes(
    const DatasetDescription& description, const std::string& split, const DataFolders& folders) {
  const auto& wanted = description.split(split);
  std::vector<std::pair<std::string, std::string>> hashes;
  if (description.kind != DatasetDescription::Kind::kFiles) {
    const nlohmann::json generator = {
        {"name", description.name}, {"version", kGeneratorVersion},
        {"seed", description.seed}, {"sequence_length", description.sequence_length},
        {"split", split},           {"count", wanted.count}};
    hashes.emplace_back(generator.dump(), sha256_hex(generator.dump()));
    return hashes;
  }
  const auto* entry = find_dataset(description.name);
  for (const auto& file : wanted.files) {
    const auto path = locate(description, file, folders);
    const auto hash = sha256_file(path);
    if (entry != nullptr) {
      for (const auto& known : entry->files) {
        if (known.path == file && !known.sha256.empty() && known.sha256 != hash) {
          throw bad_input(
              "{}: damaged or another version: its SHA-256 is {}, not {}; replace it, or define a "
              "data set of your own with 'files'",
              path.string(), hash, known.sha256);
        }
      }
    }
    hashes.emplace_back(file.string(), hash);
  }
  return hashes;
}

}  // namespace oasis
