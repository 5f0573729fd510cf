// Text to token ids and back.
//
// Every text tokenizer here is lossless: decode(encode(text)) == text for any bytes, so that bits
// per byte can be counted exactly (token_bytes). And no token reaches over a newline: a text cut
// after newlines gives the ids of the whole, so that long documents are encoded in parallel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace oasis {

// How a suite asks for a tokenizer. Data sets of plain token ids ignore it.
struct TokenizerOptions {
  std::string type = "byte";        // byte | sentencepiece
  std::uint32_t vocab_size = 4096;  // sentencepiece: pieces, 256 bytes and 2 controls included
  std::uint64_t sample_bytes = 10'000'000;  // sentencepiece: bytes of the train split to learn from
};

// {"type": "byte"} or {"type": "sentencepiece", "vocab_size": 4096, "sample_bytes": 10000000}.
// Throws Error (bad input) naming `where` and the field.
TokenizerOptions parse_tokenizer_options(const nlohmann::json& json, const std::string& where);
nlohmann::json to_json(const TokenizerOptions& options);  // complete and canonical, for keys

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  virtual std::string type() const = 0;          // byte | sentencepiece | integer
  virtual std::uint32_t vocab_size() const = 0;  // ids are 0 … vocab_size − 1
  virtual std::uint32_t end_of_text() const = 0;

  // SHA-256, in hexadecimal, of all that determines the ids.
  virtual std::string hash() const = 0;

  // Appends the ids of `text`; never appends end_of_text itself. Safe from several threads.
  virtual void encode(std::string_view text, std::vector<std::uint32_t>& ids) const = 0;

  // Bytes of the source text that this token stands for; 0 for end_of_text and other controls.
  virtual std::size_t token_bytes(std::uint32_t id) const = 0;

  // Throws Error (bad input) for an id outside the vocabulary. Controls decode to nothing.
  virtual std::string decode(std::span<const std::uint32_t> ids) const = 0;

  // Writes the tokenizer's files into an existing folder, `oasis_tokenizer.json` among them
  // (SentencePiece: also `tokenizer.model`, as Hugging Face's Llama layout calls it).
  virtual void save(const std::filesystem::path& folder) const = 0;

  std::vector<std::uint32_t> encode(std::string_view text) const {
    std::vector<std::uint32_t> ids;
    encode(text, ids);
    return ids;
  }
};

using TokenizerPtr = std::shared_ptr<const Tokenizer>;

// 256 bytes and the end-of-text token 256.
TokenizerPtr byte_tokenizer();

// For data sets that are token ids to begin with: text is decimal ids separated by spaces.
// token_bytes is 0 throughout: there is no source text.
TokenizerPtr integer_tokenizer(std::uint32_t vocab_size, std::uint32_t end_of_text);

// The file of a saved tokenizer that says which one it is.
inline constexpr const char* kTokenizerFile = "oasis_tokenizer.json";

// Throws Error (bad input) when id >= vocab_size.
void check_token(std::uint32_t id, std::uint32_t vocab_size);

// From the files that save() wrote. Throws Error (bad input) naming the file.
TokenizerPtr load_tokenizer(const std::filesystem::path& folder);

}  // namespace oasis
