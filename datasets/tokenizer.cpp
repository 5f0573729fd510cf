#include "datasets/tokenizer.h"

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "datasets/json_fields.h"
#include "datasets/sentencepiece_tokenizer.h"
#include "support/error.h"
#include "support/text.h"

namespace oasis {
namespace {

constexpr std::uint32_t kMaxVocabSize = 1'000'000;

}  // namespace

TokenizerOptions parse_tokenizer_options(const nlohmann::json& json, const std::string& where) {
  TokenizerOptions options;
  const JsonFields fields(json, where, {"type", "vocab_size", "sample_bytes"});
  options.type = fields.text("type");
  if (options.type != "byte" && options.type != "sentencepiece") {
    throw bad_input("{}.type: unknown tokenizer '{}'{}", where, options.type,
                    suggestion(options.type, {"byte", "sentencepiece"}));
  }
  if (options.type == "byte") {
    for (const char* name : {"vocab_size", "sample_bytes"}) {
      if (fields.has(name)) {
        throw bad_input("{}.{}: the byte tokenizer has no such setting; remove it", where, name);
      }
    }
    return options;
  }
  // 256 bytes, two controls and at least one piece that was learned.
  options.vocab_size = static_cast<std::uint32_t>(
      fields.integer_or(options.vocab_size, "vocab_size", 256 + 2 + 1, kMaxVocabSize));
  options.sample_bytes =
      fields.integer_or(options.sample_bytes, "sample_bytes", 10'000, std::uint64_t{1} << 31);
  return options;
}

nlohmann::json to_json(const TokenizerOptions& options) {
  if (options.type == "byte") return {{"type", "byte"}};
  return {{"type", options.type},
          {"vocab_size", options.vocab_size},
          {"sample_bytes", options.sample_bytes}};
}

void check_token(std::uint32_t id, std::uint32_t vocab_size) {
  if (id >= vocab_size) {
    throw bad_input("token {} is outside the vocabulary of {} tokens (0 to {})", id, vocab_size,
                    vocab_size - 1);
  }
}

TokenizerPtr load_tokenizer(const std::filesystem::path& folder) {
  const auto file = folder / kTokenizerFile;
  std::ifstream stream(file, std::ios::binary);
  if (!stream) {
    throw bad_input("{}: cannot be read; the folder holds no tokenizer of this program",
                    file.string());
  }
  std::stringstream text;
  text << stream.rdbuf();
  const auto json = nlohmann::json::parse(text.str(), nullptr, /*allow_exceptions=*/false);
  const JsonFields fields(json, file.string(), {"type", "vocab_size", "end_of_text", "sha256"});
  const std::string type = fields.text("type");
  if (type == "byte") return byte_tokenizer();
  if (type == "integer") {
    const auto vocab_size =
        static_cast<std::uint32_t>(fields.integer("vocab_size", 1, kMaxVocabSize));
    return integer_tokenizer(
        vocab_size, static_cast<std::uint32_t>(fields.integer("end_of_text", 0, vocab_size - 1)));
  }
  if (type == "sentencepiece") {
    return load_sentencepiece(folder / kSentencePieceFile, fields.text("sha256"));
  }
  throw bad_input("{}: unknown tokenizer type '{}'{}", file.string(), type,
                  suggestion(type, {"byte", "sentencepiece", "integer"}));
}

}  // namespace oasis
