// Text to token ids and back.
//
// Every text tokenizer here is lossless: decode(encode(text)) == text for any bytes, so that bits
// per byte can be counted exactly (token_bytes). Except for a Hugging Face tokenizer that
// normalizes, adds or lacks something, and for text that spells its special tokens: there the bytes
// are those of the tokens, not quite the text's.
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

inline constexpr std::uint32_t kMaxVocabSize = 1'000'000;

// How a suite asks for a tokenizer. Data sets of plain token ids ignore it.
struct TokenizerOptions {
  std::string type = "byte";        // byte | sentencepiece | hugging_face
  std::uint32_t vocab_size = 4096;  // sentencepiece: pieces, 256 bytes and 2 controls included
  std::uint64_t sample_bytes = 10'000'000;  // sentencepiece: bytes of the train split to learn from
  // hugging_face: a tokenizer.json or a folder with one; relative paths count from the data folder.
  std::string path = {};
};

// {"type": "byte"}, {"type": "sentencepiece", "vocab_size": 4096, "sample_bytes": 10000000} or
// {"type": "hugging_face", "path": "SmolLM2-135M-Instruct"}.
// Throws Error (bad input) naming `where` and the field.
TokenizerOptions parse_tokenizer_options(const nlohmann::json& json, const std::string& where);
nlohmann::json to_json(const TokenizerOptions& options);  // complete and canonical, for keys

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // byte | sentencepiece | hugging_face | integer
  virtual std::string type() const = 0;
  virtual std::uint32_t vocab_size() const = 0;  // ids are 0 … vocab_size − 1
  virtual std::uint32_t end_of_text() const = 0;

  // SHA-256, in hexadecimal, of all that determines the ids.
  virtual std::string hash() const = 0;

  // Appends the ids of `text`; never appends end_of_text itself. Safe from several threads.
  virtual void encode(std::string_view text, std::vector<std::uint32_t>& ids) const = 0;

  // As encode(), between the tokens that the model expects round a text (a BOS, an EOS), where the
  // tokenizer says so.
  virtual void encode_with_special_tokens(std::string_view text,
                                          std::vector<std::uint32_t>& ids) const {
    encode(text, ids);
  }

  // Whether a text cut before byte `at` gives the ids of the whole, so that its parts can be
  // encoded in parallel. 0 < at < text.size(): what follows may matter.
  virtual bool can_cut(std::string_view text, std::size_t at) const { return text[at - 1] == '\n'; }

  // Bytes of the source text that this token stands for; 0 for end_of_text and other controls.
  virtual std::size_t token_bytes(std::uint32_t id) const = 0;

  // Throws Error (bad input) for an id outside the vocabulary. Controls decode to nothing.
  virtual std::string decode(std::span<const std::uint32_t> ids) const = 0;

  // Writes the tokenizer's files into an existing folder, `oasis_tokenizer.json` among them
  // (SentencePiece: also `tokenizer.model`, as Hugging Face's Llama layout calls it; Hugging Face:
  // also `tokenizer.json`).
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

// pieces[id] for each id, joined. Throws Error (bad input) for an id without a piece.
std::string join_pieces(std::span<const std::string> pieces, std::span<const std::uint32_t> ids);

// Whether load_tokenizer() has something to read there.
bool has_tokenizer(const std::filesystem::path& folder);

// From the files that save() wrote or, in a folder without them, from a Hugging Face
// tokenizer.json. Throws Error (bad input) naming the file.
TokenizerPtr load_tokenizer(const std::filesystem::path& folder);

}  // namespace oasis
