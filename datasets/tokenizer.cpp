#include "datasets/tokenizer.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "datasets/hugging_face/hugging_face_tokenizer.h"
#include "datasets/json_fields.h"
#include "datasets/sentencepiece_tokenizer.h"
#include "support/error.h"
#include "support/text.h"

namespace oasis {

TokenizerOptions parse_tokenizer_options(const nlohmann::json& json, const std::string& where) {
  TokenizerOptions options;
  const JsonFields fields(json, where, {"type", "vocab_size", "sample_bytes", "path"});
  options.type = fields.text("type");
  const std::vector<std::string> types = {"byte", "sentencepiece", "hugging_face"};
  if (std::find(types.begin(), types.end(), options.type) == types.end()) {
    throw bad_input("{}.type: unknown tokenizer '{}'{}", where, options.type,
                    suggestion(options.type, types));
  }
  const auto refuse = [&](const std::vector<std::string>& names) {
    for (const auto& name : names) {
      if (fields.has(name)) {
        throw bad_input("{}.{}: the {} tokenizer has no such setting; remove it", where, name,
                        options.type);
      }
    }
  };
  if (options.type == "byte") {
    refuse({"vocab_size", "sample_bytes", "path"});
    return options;
  }
  if (options.type == "hugging_face") {
    refuse({"vocab_size", "sample_bytes"});
    options.path = fields.text("path");
    if (options.path.empty()) {
      throw bad_input("{}.path: is empty; name a tokenizer.json or a folder with one", where);
    }
    return options;
  }
  refuse({"path"});
  // 256 bytes, two controls and at least one piece that was learned.
  options.vocab_size = static_cast<std::uint32_t>(
      fields.integer_or(options.vocab_size, "vocab_size", 256 + 2 + 1, kMaxVocabSize));
  options.sample_bytes =
      fields.integer_or(options.sample_bytes, "sample_bytes", 10'000, std::uint64_t{1} << 31);
  return options;
}

nlohmann::json to_json(const TokenizerOptions& options) {
  if (options.type == "byte") return {{"type", "byte"}};
  if (options.type == "hugging_face") return {{"type", options.type}, {"path", options.path}};
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

std::string join_pieces(std::span<const std::string> pieces, std::span<const std::uint32_t> ids) {
  std::string text;
  for (const std::uint32_t id : ids) {
    check_token(id, static_cast<std::uint32_t>(pieces.size()));
    text += pieces[id];
  }
  return text;
}

bool has_tokenizer(const std::filesystem::path& folder) {
  return std::filesystem::exists(folder / kTokenizerFile) ||
         std::filesystem::exists(folder / kHuggingFaceFile);
}

TokenizerPtr load_tokenizer(const std::filesystem::path& folder) {
  const auto file = folder / kTokenizerFile;
  if (!std::filesystem::exists(file) && has_tokenizer(folder)) return load_hugging_face(folder);
  std::ifstream stream(file, std::ios::binary);
  if (!stream) {
    throw bad_input(
        "{}: cannot be read; the folder holds no tokenizer of this program, and no tokenizer.json",
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
  if (type == "hugging_face") {
    return load_saved_hugging_face(
        folder, fields.text("sha256"),
        static_cast<std::uint32_t>(fields.integer("end_of_text", 0, kMaxVocabSize - 1)));
  }
  throw bad_input("{}: unknown tokenizer type '{}'{}", file.string(), type,
                  suggestion(type, {"byte", "sentencepiece", "hugging_face", "integer"}));
}

}  // namespace oasis
