#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "datasets/tokenizer.h"
#include "support/atomic_file.h"
#include "support/error.h"
#include "support/sha256.h"

namespace oasis {
namespace {

class IntegerTokenizer : public Tokenizer {
 public:
  IntegerTokenizer(std::uint32_t vocab_size, std::uint32_t end_of_text)
      : vocab_size_(vocab_size), end_of_text_(end_of_text) {
    check_token(end_of_text, vocab_size);
  }

  std::string type() const override { return "integer"; }
  std::uint32_t vocab_size() const override { return vocab_size_; }
  std::uint32_t end_of_text() const override { return end_of_text_; }
  std::string hash() const override {
    return sha256_hex(fmt::format("oasis integer tokenizer 1 {} {}", vocab_size_, end_of_text_));
  }

  void encode(std::string_view text, std::vector<std::uint32_t>& ids) const override {
    std::size_t at = 0;
    while ((at = text.find_first_not_of(" \t\r\n", at)) != std::string_view::npos) {
      const std::size_t end = std::min(text.find_first_of(" \t\r\n", at), text.size());
      const auto word = text.substr(at, end - at);
      std::uint32_t id = 0;
      const auto [stop, status] = std::from_chars(word.data(), word.data() + word.size(), id);
      if (status != std::errc() || stop != word.data() + word.size()) {
        throw bad_input("'{}' is not a token id; this data set's text is decimal ids", word);
      }
      check_token(id, vocab_size_);
      ids.push_back(id);
      at = end;
    }
  }

  std::size_t token_bytes(std::uint32_t) const override { return 0; }

  std::string decode(std::span<const std::uint32_t> ids) const override {
    std::string text;
    for (const std::uint32_t id : ids) {
      check_token(id, vocab_size_);
      text += fmt::format("{}{}", text.empty() ? "" : " ", id);
    }
    return text;
  }

  void save(const std::filesystem::path& folder) const override {
    write_file_atomically(
        folder / kTokenizerFile,
        nlohmann::json{{"type", type()}, {"vocab_size", vocab_size_}, {"end_of_text", end_of_text_}}
                .dump() +
            "\n");
  }

 private:
  std::uint32_t vocab_size_;
  std::uint32_t end_of_text_;
};

}  // namespace

TokenizerPtr integer_tokenizer(std::uint32_t vocab_size, std::uint32_t end_of_text) {
  return std::make_shared<IntegerTokenizer>(vocab_size, end_of_text);
}

}  // namespace oasis
