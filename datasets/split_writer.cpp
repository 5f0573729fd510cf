#include <unistd.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "datasets/shards.h"
#include "support/atomic_file.h"
#include "support/error.h"
#include "support/sha256.h"

namespace oasis {

struct SplitWriter::State {
  State(std::filesystem::path target, SplitInfo split_info)
      : folder(std::move(target)), info(std::move(split_info)) {
    unfinished = folder;
    unfinished += fmt::format(".part-{}", ::getpid());
    std::error_code error;
    std::filesystem::remove_all(unfinished, error);
    std::filesystem::create_directories(unfinished, error);
    if (error) {
      throw bad_input(
          "{}: the cache folder cannot be written: {}; set OASIS_CACHE_HOME to a folder that can",
          unfinished.parent_path().string(), error.message());
    }
  }
  ~State() {
    file.reset();
    std::error_code error;
    std::filesystem::remove_all(unfinished, error);
  }

  void write(std::span<const std::uint32_t> tokens) {
    while (!tokens.empty()) {
      if (!file) {
        info.shards.push_back({shard_name(info.shards.size()), 0, ""});
        file.emplace(unfinished / info.shards.back().file);
        hash.emplace();
      }
      auto& shard = info.shards.back();
      const auto count = std::min<std::uint64_t>(tokens.size(), info.shard_tokens - shard.tokens);
      const auto part = tokens.first(static_cast<std::size_t>(count));
      if (info.bytes_per_token() == 2) {
        packed.assign(part.begin(), part.end());
        write_bytes(packed.data(), packed.size() * sizeof(packed[0]));
      } else {
        write_bytes(part.data(), part.size_bytes());
      }
      shard.tokens += count;
      info.tokens += count;
      if (shard.tokens == info.shard_tokens) close_shard();
      tokens = tokens.subspan(part.size());
    }
  }

  void write_bytes(const void* data, std::size_t bytes) {
    file->write(data, bytes);
    hash->update(data, bytes);
  }

  void close_shard() {
    if (!file) return;
    file->commit();
    info.shards.back().sha256 = hash->hex();
    file.reset();
    hash.reset();
  }

  std::filesystem::path folder;
  std::filesystem::path unfinished;
  SplitInfo info;
  std::optional<AtomicFile> file;
  std::optional<Sha256> hash;
  std::vector<std::uint16_t> packed;
};

SplitWriter::SplitWriter(std::filesystem::path folder, SplitInfo info)
    : state_(std::make_unique<State>(std::move(folder), std::move(info))) {}

SplitWriter::~SplitWriter() = default;

void SplitWriter::append(std::span<const std::uint32_t> tokens) {
  for (const std::uint32_t token : tokens) {
    if (token >= state_->info.vocab_size) {
      throw failed("{}: token {} is outside the vocabulary of {}", state_->folder.string(), token,
                   state_->info.vocab_size);
    }
  }
  state_->write(tokens);
}

void SplitWriter::count(std::uint64_t documents, std::uint64_t bytes, std::uint64_t words) {
  state_->info.documents += documents;
  state_->info.source_bytes += bytes;
  state_->info.source_words += words;
}

SplitInfo SplitWriter::finish() {
  state_->close_shard();
  write_file_atomically(state_->unfinished / kSidecarFile, to_json(state_->info).dump(2) + "\n");
  std::error_code error;
  std::filesystem::rename(state_->unfinished, state_->folder, error);
  // The folder that another process finished meanwhile was made from the same sources.
  if (error && !std::filesystem::exists(state_->folder / kSidecarFile)) {
    throw failed("{}: renaming into place failed: {}", state_->folder.string(), error.message());
  }
  return state_->info;
}

}  // namespace oasis
