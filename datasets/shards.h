// A tokenized split on disk: packed shards and their JSON sidecar, in one folder.
//
//   split.json       the sidecar: SplitInfo
//   shard-00000.bin  token ids, little-endian, uint16 when the vocabulary has at most 65,536 ids,
//   shard-00001.bin  else uint32; no header; every shard but the last holds shard_tokens tokens
//
// The folder appears whole or not at all (written beside its place, then renamed).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace oasis {

inline constexpr int kShardFormatVersion = 1;
inline constexpr std::uint64_t kShardTokens = std::uint64_t{1} << 26;
inline constexpr const char* kSidecarFile = "split.json";
std::string shard_name(std::size_t index);

struct SplitInfo {
  std::string dataset;         // "books"
  std::string split;           // "train"
  std::string tokenizer_hash;  // Tokenizer::hash()
  std::uint32_t vocab_size = 0;
  std::uint32_t end_of_text = 0;
  std::uint64_t shard_tokens = kShardTokens;
  std::uint64_t tokens = 0;  // end-of-text tokens included, one after each document
  std::uint64_t documents = 0;
  std::uint64_t source_bytes = 0;  // of text, UTF-8, decoded; 0 for data sets of token ids
  std::uint64_t source_words = 0;  // separated by white space; 0 for data sets of token ids
  std::vector<std::pair<std::string, std::string>> sources;  // file or generator → SHA-256

  struct Shard {
    std::string file;
    std::uint64_t tokens = 0;
    std::string sha256;
  };
  std::vector<Shard> shards;

  std::size_t bytes_per_token() const { return vocab_size <= 65536 ? 2 : 4; }
  std::string content_hash() const;  // SHA-256 over the shards' hashes and the tokenizer's
};

// With a hash of itself, so that the sidecar is as well protected as what it describes.
nlohmann::json to_json(const SplitInfo& info);

// Throws Error (bad input) naming `file` and the field.
SplitInfo parse_split_info(const std::string& text, const std::filesystem::path& file);

// Writes a split. Not copyable; the folder appears with finish(), and an unfinished one is removed.
class SplitWriter {
 public:
  // `info` gives dataset, split, tokenizer_hash, vocab_size, end_of_text, sources.
  SplitWriter(std::filesystem::path folder, SplitInfo info);
  ~SplitWriter();
  SplitWriter(const SplitWriter&) = delete;
  SplitWriter& operator=(const SplitWriter&) = delete;

  void append(std::span<const std::uint32_t> tokens);
  void count(std::uint64_t documents, std::uint64_t bytes, std::uint64_t words);

  // Returns the sidecar's content. When another process finished the same folder first, that one
  // stays and ours is dropped.
  SplitInfo finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// A memory-mapped split. Immutable; safe from several threads.
class TokenSplit {
 public:
  // Opens and compares sizes (fast). Throws Error (bad input) naming the missing, cut or wrong
  // file.
  explicit TokenSplit(std::filesystem::path folder);
  ~TokenSplit();
  TokenSplit(const TokenSplit&) = delete;
  TokenSplit& operator=(const TokenSplit&) = delete;

  // Compares every shard's SHA-256 with the sidecar's. Throws Error (bad input) naming the file.
  void verify() const;

  const SplitInfo& info() const { return info_; }
  const std::filesystem::path& folder() const { return folder_; }
  std::uint64_t size() const { return info_.tokens; }

  // Tokens [offset, offset + out.size()). Throws Error (failed) when they reach past the end.
  void read(std::uint64_t offset, std::span<std::int64_t> out) const;
  void read(std::uint64_t offset, std::span<std::uint32_t> out) const;

 private:
  template <typename Out>
  void read_as(std::uint64_t offset, std::span<Out> out) const;

  struct Mapping;
  std::filesystem::path folder_;
  SplitInfo info_;
  std::vector<Mapping> mappings_;
};

using TokenSplitPtr = std::shared_ptr<const TokenSplit>;

}  // namespace oasis
