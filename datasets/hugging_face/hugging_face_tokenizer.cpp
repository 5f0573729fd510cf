#include "datasets/hugging_face/hugging_face_tokenizer.h"

#include <algorithm>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "datasets/hugging_face/added_tokens.h"
#include "datasets/hugging_face/bpe.h"
#include "datasets/hugging_face/byte_letters.h"
#include "datasets/hugging_face/nfc.h"
#include "datasets/hugging_face/pre_tokenizer.h"
#include "datasets/utf8.h"
#include "support/atomic_file.h"
#include "support/error.h"
#include "support/sha256.h"

namespace oasis {
namespace {

// What one thread works with.
struct Workspace {
  RegexState regex;
  Bpe::Scratch bpe;
  std::vector<AddedTokens::Piece> pieces;
  std::vector<AddedTokens::Piece> normalized_pieces;
  std::string normalized;
};

// Workspaces that threads borrow; there are as many as threads ever worked at once.
class WorkspacePool {
 public:
  class Loan {
   public:
    explicit Loan(WorkspacePool& pool) : pool_(pool), workspace_(pool.take()) {}
    ~Loan() { pool_.give_back(std::move(workspace_)); }
    Loan(const Loan&) = delete;
    Loan& operator=(const Loan&) = delete;
    Workspace& operator*() const { return *workspace_; }

   private:
    WorkspacePool& pool_;
    std::unique_ptr<Workspace> workspace_;
  };

 private:
  std::unique_ptr<Workspace> take() {
    {
      const std::lock_guard lock(mutex_);
      if (!idle_.empty()) {
        auto workspace = std::move(idle_.back());
        idle_.pop_back();
        return workspace;
      }
    }
    return std::make_unique<Workspace>();
  }

  void give_back(std::unique_ptr<Workspace> workspace) {
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(workspace));
  }

  std::mutex mutex_;
  std::vector<std::unique_ptr<Workspace>> idle_;
};

// Those that are looked for in the text as it is, or in the normalized text; special ones first.
std::vector<AddedToken> tokens_to_find(const std::vector<AddedToken>& all, bool normalized) {
  std::vector<AddedToken> tokens;
  for (const bool special : {true, false}) {
    std::copy_if(all.begin(), all.end(), std::back_inserter(tokens), [&](const AddedToken& token) {
      return token.special == special && token.normalized == normalized;
    });
  }
  return tokens;
}

class HuggingFaceTokenizer : public Tokenizer {
 public:
  HuggingFaceTokenizer(std::string json, const std::string& where,
                       HuggingFaceDescription description, std::uint32_t end_of_text)
      : json_(std::move(json)),
        end_of_text_(end_of_text),
        nfc_(description.nfc),
        before_(std::move(description.before)),
        after_(std::move(description.after)),
        added_(tokens_to_find(description.added_tokens, false)),
        normalized_added_(tokens_to_find(description.added_tokens, true)),
        pre_tokenizer_(description.pre_tokenizer),
        bpe_(description.bpe, where + ": model") {
    cuttable_ = pre_tokenizer_.lines_are_independent() &&
                std::all_of(description.added_tokens.begin(), description.added_tokens.end(),
                            [](const AddedToken& token) {
                              return !token.lstrip && token.content.find('\n') == std::string::npos;
                            });
    const auto text_of = [this](std::uint32_t id) -> std::string& {
      if (id >= pieces_.size()) pieces_.resize(id + 1);
      return pieces_[id];
    };
    for (const auto& [token, id] : description.bpe.vocab) {
      text_of(id) = bytes_of_letters(token).value_or(token);
    }
    for (const auto& token : description.added_tokens) {
      text_of(token.id) =
          token.special ? "" : bytes_of_letters(token.content).value_or(token.content);
    }
    for (const auto& ids : {before_, after_}) {
      for (const auto id : ids) {
        if (id >= pieces_.size()) {
          throw bad_input("{}: post_processor: id {} is of no token", where, id);
        }
      }
    }
  }

  std::string type() const override { return "hugging_face"; }
  std::uint32_t vocab_size() const override { return static_cast<std::uint32_t>(pieces_.size()); }
  std::uint32_t end_of_text() const override { return end_of_text_; }
  std::string hash() const override {
    return sha256_hex(
        fmt::format("oasis hugging_face tokenizer 1 {} {}", sha256_hex(json_), end_of_text_));
  }

  void encode(std::string_view text, std::vector<std::uint32_t>& ids) const override {
    const WorkspacePool::Loan workspace(workspaces_);
    while (!text.empty()) {
      const auto valid = valid_prefix(text);
      encode_valid(text.substr(0, valid), *workspace, ids);
      text.remove_prefix(valid);
      const auto invalid = std::min<std::size_t>(text.size(), 1);
      bpe_.encode_bytes(text.substr(0, invalid), ids);
      text.remove_prefix(invalid);
    }
  }

  void encode_with_special_tokens(std::string_view text,
                                  std::vector<std::uint32_t>& ids) const override {
    ids.insert(ids.end(), before_.begin(), before_.end());
    encode(text, ids);
    ids.insert(ids.end(), after_.begin(), after_.end());
  }

  bool can_cut(std::string_view text, std::size_t at) const override {
    const auto prints = [](char c) { return c > ' ' && c <= '~'; };
    return cuttable_ && at >= 2 && text[at - 1] == '\n' && prints(text[at - 2]) && prints(text[at]);
  }

  std::size_t token_bytes(std::uint32_t id) const override {
    return id < pieces_.size() ? pieces_[id].size() : 0;
  }

  std::string decode(std::span<const std::uint32_t> ids) const override {
    return join_pieces(pieces_, ids);
  }

  void save(const std::filesystem::path& folder) const override {
    write_file_atomically(folder / kHuggingFaceFile, json_);
    const nlohmann::json json = {{"type", type()},
                                 {"vocab_size", vocab_size()},
                                 {"end_of_text", end_of_text_},
                                 {"sha256", sha256_hex(json_)}};
    write_file_atomically(folder / kTokenizerFile, json.dump() + "\n");
  }

 private:
  void encode_valid(std::string_view text, Workspace& workspace,
                    std::vector<std::uint32_t>& ids) const {
    workspace.pieces.clear();
    added_.split(text, workspace.regex, workspace.pieces);
    for (const auto& piece : workspace.pieces) {
      if (piece.id) {
        ids.push_back(*piece.id);
      } else {
        encode_piece(nfc_ ? to_nfc(piece.text, workspace.normalized) : piece.text, workspace, ids);
      }
    }
  }

  void encode_piece(std::string_view text, Workspace& workspace,
                    std::vector<std::uint32_t>& ids) const {
    workspace.normalized_pieces.clear();
    normalized_added_.split(text, workspace.regex, workspace.normalized_pieces);
    for (const auto& piece : workspace.normalized_pieces) {
      if (piece.id) {
        ids.push_back(*piece.id);
        continue;
      }
      pre_tokenizer_.words(piece.text, workspace.regex,
                           [&](std::string_view word) { bpe_.encode(word, workspace.bpe, ids); });
    }
  }

  std::string json_;
  std::uint32_t end_of_text_;
  bool nfc_;
  bool cuttable_ = false;
  std::vector<std::uint32_t> before_, after_;
  AddedTokens added_, normalized_added_;
  PreTokenizer pre_tokenizer_;
  Bpe bpe_;
  std::vector<std::string> pieces_;  // id → bytes of text, empty for special tokens
  mutable WorkspacePool workspaces_;
};

std::string read_file(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  std::stringstream text;
  if (!stream || !(text << stream.rdbuf())) throw bad_input("{}: cannot be read", file.string());
  return text.str();
}

std::uint32_t id_of_end(const HuggingFaceDescription& description, const std::string& where,
                        const std::optional<std::string>& wanted) {
  constexpr std::array kUsual = {"<|endoftext|>", "<|end_of_text|>", "</s>", "<|im_end|>"};
  std::vector<std::string> names(kUsual.begin(), kUsual.end());
  if (wanted) names = {*wanted};
  for (const auto& name : names) {
    for (const auto& token : description.added_tokens) {
      if (token.content == name) return token.id;
    }
  }
  if (wanted) {
    throw bad_input("{}: the end-of-text token '{}' is not among added_tokens", where, *wanted);
  }
  throw bad_input(
      "{}: no end-of-text token; name one of added_tokens as eos_token in a tokenizer_config.json "
      "beside it",
      where);
}

TokenizerPtr make_tokenizer(std::string json, const std::string& where,
                            HuggingFaceDescription description, std::uint32_t end_of_text) {
  std::string buffer;
  for (auto& token : description.added_tokens) {
    if (description.nfc && token.normalized) token.content = to_nfc(token.content, buffer);
  }
  return std::make_shared<HuggingFaceTokenizer>(std::move(json), where, std::move(description),
                                                end_of_text);
}

// {"eos_token": "</s>"} or {"eos_token": {"content": "</s>", …}}; nothing when there is no file or
// no such token in it.
std::optional<std::string> read_eos_token(const std::filesystem::path& file) {
  if (!std::filesystem::exists(file)) return std::nullopt;
  const auto json = nlohmann::json::parse(read_file(file), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) throw bad_input("{}: must be a JSON object", file.string());
  auto token = json.value("eos_token", nlohmann::json());
  if (token.is_object()) token = token.value("content", nlohmann::json());
  if (token.is_null()) return std::nullopt;
  if (!token.is_string()) {
    throw bad_input("{}: eos_token: must be a string or an object with 'content', not {}",
                    file.string(), token.type_name());
  }
  return token.get<std::string>();
}

}  // namespace

TokenizerPtr hugging_face_from_json(std::string text, const std::string& where,
                                    const std::optional<std::string>& end_of_text) {
  auto description = parse_tokenizer_json(text, where);
  const auto end = id_of_end(description, where, end_of_text);
  return make_tokenizer(std::move(text), where, std::move(description), end);
}

TokenizerPtr load_hugging_face(const std::filesystem::path& path) {
  const auto file = std::filesystem::is_directory(path) ? path / kHuggingFaceFile : path;
  if (!std::filesystem::is_regular_file(file)) {
    throw bad_input("{}: no such file; name a tokenizer.json or a folder with one", file.string());
  }
  const auto eos = read_eos_token(file.parent_path() / "tokenizer_config.json");
  return hugging_face_from_json(read_file(file), file.string(), eos);
}

TokenizerPtr load_saved_hugging_face(const std::filesystem::path& folder, const std::string& sha256,
                                     std::uint32_t end_of_text) {
  const auto file = folder / kHuggingFaceFile;
  auto text = read_file(file);
  if (const auto found = sha256_hex(text); found != sha256) {
    throw bad_input("{}: damaged: its SHA-256 is {}, not {}", file.string(), found, sha256);
  }
  auto description = parse_tokenizer_json(text, file.string());
  auto tokenizer =
      make_tokenizer(std::move(text), file.string(), std::move(description), end_of_text);
  check_token(end_of_text, tokenizer->vocab_size());
  return tokenizer;
}

}  // namespace oasis
