#include <nlohmann/json.hpp>

#include "datasets/tokenizer.h"
#include "support/atomic_file.h"
#include "support/error.h"
#include "support/sha256.h"

namespace oasis {
namespace {

constexpr std::uint32_t kBytes = 256;

class ByteTokenizer : public Tokenizer {
 public:
  std::string type() const override { return "byte"; }
  std::uint32_t vocab_size() const override { return kBytes + 1; }
  std::uint32_t end_of_text() const override { return kBytes; }
  std::string hash() const override { return sha256_hex("oasis byte tokenizer 1"); }

  void encode(std::string_view text, std::vector<std::uint32_t>& ids) const override {
    const std::size_t before = ids.size();
    ids.resize(before + text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
      ids[before + i] = static_cast<unsigned char>(text[i]);
    }
  }

  std::size_t token_bytes(std::uint32_t id) const override { return id < kBytes ? 1 : 0; }

  std::string decode(std::span<const std::uint32_t> ids) const override {
    std::string text;
    for (const std::uint32_t id : ids) {
      check_token(id, vocab_size());
      if (id < kBytes) text.push_back(static_cast<char>(id));
    }
    return text;
  }

  void save(const std::filesystem::path& folder) const override {
    write_file_atomically(
        folder / kTokenizerFile,
        nlohmann::json{{"type", type()}, {"vocab_size", vocab_size()}}.dump() + "\n");
  }
};

}  // namespace

TokenizerPtr byte_tokenizer() {
  return std::make_shared<ByteTokenizer>();
}

}  // namespace oasis
