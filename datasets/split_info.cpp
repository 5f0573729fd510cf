#include <nlohmann/json.hpp>

#include "datasets/json_fields.h"
#include "datasets/shards.h"
#include "support/error.h"
#include "support/sha256.h"

namespace oasis {
namespace {

constexpr std::uint64_t kMaxTokens = std::uint64_t{1} << 48;

// Over the canonical text of everything but the hash itself.
std::string own_hash(nlohmann::json json) {
  json.erase("sha256");
  return sha256_hex(json.dump());
}

std::string hash_field(const JsonFields& fields, const std::string& name,
                       const std::string& where) {
  std::string hash = fields.text(name);
  if (hash.size() != 64 || hash.find_first_not_of("0123456789abcdef") != std::string::npos) {
    throw bad_input("{}.{}: must be a SHA-256 in 64 lower-case hexadecimal digits", where, name);
  }
  return hash;
}

}  // namespace

std::string shard_name(std::size_t index) {
  return fmt::format("shard-{:05}.bin", index);
}

std::string SplitInfo::content_hash() const {
  Sha256 hash;
  const auto add = [&hash](const std::string& text) { hash.update(text.data(), text.size()); };
  add(tokenizer_hash);
  for (const auto& shard : shards) add(shard.sha256);
  return hash.hex();
}

nlohmann::json to_json(const SplitInfo& info) {
  nlohmann::json sources = nlohmann::json::array();
  for (const auto& [file, hash] : info.sources) {
    sources.push_back({{"file", file}, {"sha256", hash}});
  }
  nlohmann::json shards = nlohmann::json::array();
  for (const auto& shard : info.shards) {
    shards.push_back({{"file", shard.file}, {"tokens", shard.tokens}, {"sha256", shard.sha256}});
  }
  nlohmann::json json = {{"format_version", kShardFormatVersion},
                         {"dataset", info.dataset},
                         {"split", info.split},
                         {"dtype", info.bytes_per_token() == 2 ? "uint16" : "uint32"},
                         {"tokenizer_sha256", info.tokenizer_hash},
                         {"vocab_size", info.vocab_size},
                         {"end_of_text", info.end_of_text},
                         {"shard_tokens", info.shard_tokens},
                         {"tokens", info.tokens},
                         {"documents", info.documents},
                         {"source_bytes", info.source_bytes},
                         {"source_words", info.source_words},
                         {"sources", sources},
                         {"shards", shards}};
  json["sha256"] = own_hash(json);
  return json;
}

SplitInfo parse_split_info(const std::string& text, const std::filesystem::path& file) {
  const std::string where = file.string();
  const auto damaged = [&where](const std::string& what) {
    return bad_input("{}: damaged: {}; remove the folder, it is made again", where, what);
  };
  const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) throw damaged("not valid JSON");
  const JsonFields fields(json, where,
                          {"format_version", "dataset", "split", "dtype", "tokenizer_sha256",
                           "vocab_size", "end_of_text", "shard_tokens", "tokens", "documents",
                           "source_bytes", "source_words", "sources", "shards", "sha256"});
  const auto version = fields.integer("format_version");
  if (version != kShardFormatVersion) {
    throw damaged(
        fmt::format("format version {}, but this program reads {}", version, kShardFormatVersion));
  }
  if (own_hash(json) != fields.text("sha256")) throw damaged("its SHA-256 does not fit");

  SplitInfo info;
  info.dataset = fields.text("dataset");
  info.split = fields.text("split");
  info.tokenizer_hash = hash_field(fields, "tokenizer_sha256", where);
  info.vocab_size = static_cast<std::uint32_t>(fields.integer("vocab_size", 1, UINT32_MAX));
  info.end_of_text =
      static_cast<std::uint32_t>(fields.integer("end_of_text", 0, info.vocab_size - 1));
  info.shard_tokens = fields.integer("shard_tokens", 1, kMaxTokens);
  info.tokens = fields.integer("tokens", 0, kMaxTokens);
  info.documents = fields.integer("documents");
  info.source_bytes = fields.integer("source_bytes");
  info.source_words = fields.integer("source_words");
  if (fields.text("dtype") != (info.bytes_per_token() == 2 ? "uint16" : "uint32")) {
    throw damaged("'dtype' does not fit the vocabulary");
  }
  for (const auto& source : fields.array("sources")) {
    const JsonFields entry(source, where + ".sources", {"file", "sha256"});
    info.sources.emplace_back(entry.text("file"), hash_field(entry, "sha256", where + ".sources"));
  }
  std::uint64_t tokens = 0;
  for (const auto& json_shard : fields.array("shards")) {
    const JsonFields entry(json_shard, where + ".shards", {"file", "tokens", "sha256"});
    SplitInfo::Shard shard{entry.text("file"), entry.integer("tokens", 1, info.shard_tokens),
                           hash_field(entry, "sha256", where + ".shards")};
    // A name of ours, so never a path that leads elsewhere; and all shards before it are full.
    if (shard.file != shard_name(info.shards.size()) ||
        tokens != info.shards.size() * info.shard_tokens) {
      throw damaged(fmt::format("shard '{}' is out of order", shard.file));
    }
    tokens += shard.tokens;
    info.shards.push_back(std::move(shard));
  }
  if (tokens != info.tokens) throw damaged("the shards' tokens do not add up");
  return info;
}

}  // namespace oasis
