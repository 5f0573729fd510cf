#include "datasets/sentencepiece_tokenizer.h"

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <array>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <unordered_map>
#include <utility>

#include "datasets/utf8.h"
#include "support/atomic_file.h"
#include "support/error.h"
#include "support/sha256.h"

namespace oasis {
namespace {

constexpr const char* kEndOfText = "<|endoftext|>";
constexpr std::string_view kSpaceMark = "\xe2\x96\x81";  // U+2581, how pieces write a space
// SentencePiece leaves longer lines out of training, so they are cut.
constexpr std::size_t kMaxTrainingLine = 4000;

class Lines : public sentencepiece::SentenceIterator {
 public:
  explicit Lines(const std::function<bool(std::string&)>& next) : next_(next) { Next(); }
  bool done() const override { return done_; }
  const std::string& value() const override { return line_; }
  sentencepiece::util::Status status() const override { return {}; }

  void Next() override {
    if (rest_.empty() && !next_(rest_)) {
      done_ = true;
      return;
    }
    std::size_t end = rest_.size();
    if (end > kMaxTrainingLine) {
      end = rest_.rfind(' ', kMaxTrainingLine);
      if (end == std::string::npos || end == 0) end = character_start(rest_, kMaxTrainingLine);
    }
    line_ = rest_.substr(0, end);
    rest_.erase(0, end);
  }

 private:
  static std::size_t character_start(const std::string& text, std::size_t at) {
    while (at > 1 && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80) --at;
    return at;
  }

  const std::function<bool(std::string&)>& next_;
  std::string rest_;
  std::string line_;
  bool done_ = false;
};

class SentencePieceTokenizer : public Tokenizer {
 public:
  SentencePieceTokenizer(const std::string& model, const std::string& where) : model_(model) {
    if (const auto status = processor_.LoadFromSerializedProto(model_); !status.ok()) {
      throw bad_input("{}: not a SentencePiece model: {}", where, status.ToString());
    }
    byte_ids_.fill(-1);
    const int size = processor_.GetPieceSize();
    pieces_.resize(static_cast<std::size_t>(size));
    for (int id = 0; id < size; ++id) {
      if (processor_.IsControl(id) || processor_.IsUnknown(id) || processor_.IsUnused(id)) continue;
      const std::string& piece = processor_.IdToPiece(id);
      auto& text = pieces_[static_cast<std::size_t>(id)];
      if (processor_.IsByte(id)) {
        const int byte = std::stoi(piece.substr(3, 2), nullptr, 16);  // "<0xNN>"
        byte_ids_[static_cast<std::size_t>(byte)] = id;
        text = static_cast<char>(byte);
        continue;
      }
      for (std::size_t at = 0; at < piece.size();) {
        const bool space = std::string_view(piece).substr(at).starts_with(kSpaceMark);
        if (space && at > 0) {
          throw bad_input("{}: piece {} reaches over a space, which is not supported", where, id);
        }
        text += space ? ' ' : piece[at];
        at += space ? kSpaceMark.size() : 1;
      }
    }
    for (const int id : byte_ids_) {
      if (id < 0) throw bad_input("{}: the SentencePiece model lacks byte fallback", where);
    }
    if (processor_.eos_id() < 0) {
      throw bad_input("{}: the SentencePiece model lacks an end-of-text token", where);
    }
  }

  std::string type() const override { return "sentencepiece"; }
  std::uint32_t vocab_size() const override { return static_cast<std::uint32_t>(pieces_.size()); }
  std::uint32_t end_of_text() const override {
    return static_cast<std::uint32_t>(processor_.eos_id());
  }
  std::string hash() const override { return sha256_hex(model_); }

  // Pieces hold a space mark at their start only, so no merge crosses from one word (with the space
  // before it) to the next: each distinct word is encoded once per call.
  void encode(std::string_view text, std::vector<std::uint32_t>& ids) const override {
    std::unordered_map<std::string_view, std::vector<std::uint32_t>> words;
    while (!text.empty()) {
      std::size_t length = 0;
      if (!is_plain(text, length)) {
        push_bytes(text.substr(0, length), ids);
      } else {
        const std::size_t word = word_length(text, length);
        auto [entry, fresh] = words.try_emplace(text.substr(0, word));
        if (fresh) entry->second = encode_word(entry->first);
        ids.insert(ids.end(), entry->second.begin(), entry->second.end());
        length = word;
      }
      text.remove_prefix(length);
    }
  }

  std::size_t token_bytes(std::uint32_t id) const override {
    return id < pieces_.size() ? pieces_[id].size() : 0;
  }

  std::string decode(std::span<const std::uint32_t> ids) const override {
    return join_pieces(pieces_, ids);
  }

  void save(const std::filesystem::path& folder) const override {
    write_file_atomically(folder / kSentencePieceFile, model_);
    const nlohmann::json json = {
        {"type", type()}, {"vocab_size", vocab_size()}, {"sha256", hash()}};
    write_file_atomically(folder / kTokenizerFile, json.dump() + "\n");
  }

 private:
  // Whether a word may hold the character at the start of `text`, whose length is returned too.
  // Newlines, control characters, invalid UTF-8 and a literal U+2581 go byte by byte: SentencePiece
  // would not give them back as they were.
  static bool is_plain(std::string_view text, std::size_t& length) {
    length = character_length(text);
    if (length == 0) {
      length = 1;
      return false;
    }
    const auto first = static_cast<unsigned char>(text[0]);
    return first >= 0x20 && first != 0x7f && text.substr(0, length) != kSpaceMark;
  }

  // From a plain character of `length` bytes to before the next space or character that is not.
  static std::size_t word_length(std::string_view text, std::size_t length) {
    std::size_t end = length;
    while (end < text.size() && text[end] != ' ' && is_plain(text.substr(end), length)) {
      end += length;
    }
    return end;
  }

  void push_bytes(std::string_view text, std::vector<std::uint32_t>& ids) const {
    for (const char c : text) {
      ids.push_back(static_cast<std::uint32_t>(byte_ids_[static_cast<unsigned char>(c)]));
    }
  }

  std::vector<std::uint32_t> encode_word(std::string_view word) const {
    std::vector<int> ids;
    const auto status = processor_.Encode(word, &ids);
    if (!status.ok()) throw failed("SentencePiece: {}", status.ToString());
    return {ids.begin(), ids.end()};
  }

  std::string model_;
  sentencepiece::SentencePieceProcessor processor_;
  std::array<int, 256> byte_ids_;
  std::vector<std::string> pieces_;  // id → bytes of text, empty for controls
};

}  // namespace

std::string train_sentencepiece(std::uint32_t vocab_size,
                                const std::function<bool(std::string&)>& next_line) {
  const std::unordered_map<std::string, std::string> options = {
      {"model_type", "bpe"},
      {"vocab_size", std::to_string(vocab_size)},
      {"byte_fallback", "true"},
      {"character_coverage", "0.9999"},
      {"normalization_rule_name", "identity"},
      {"remove_extra_whitespaces", "false"},
      {"add_dummy_prefix", "false"},
      {"split_by_whitespace", "true"},
      {"split_digits", "true"},
      {"bos_id", "-1"},
      {"pad_id", "-1"},
      {"unk_id", "0"},
      {"eos_id", "1"},
      {"eos_piece", kEndOfText},
      {"num_threads", "1"},
      {"minloglevel", "2"},
  };
  Lines lines(next_line);
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(options, &lines, &model);
  if (!status.ok()) {
    throw bad_input(
        "a SentencePiece vocabulary of {} cannot be learned from this text: {}; ask for a smaller "
        "vocab_size or give more text",
        vocab_size, status.ToString());
  }
  return model;
}

TokenizerPtr sentencepiece_from_model(const std::string& model, const std::string& where) {
  return std::make_shared<SentencePieceTokenizer>(model, where);
}

TokenizerPtr load_sentencepiece(const std::filesystem::path& file, const std::string& sha256) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) throw bad_input("{}: cannot be read", file.string());
  std::stringstream model;
  model << stream.rdbuf();
  if (const auto found = sha256_hex(model.str()); found != sha256) {
    throw bad_input("{}: damaged: its SHA-256 is {}, not {}; remove it, it is made again",
                    file.string(), found, sha256);
  }
  return sentencepiece_from_model(model.str(), file.string());
}

}  // namespace oasis
