#include "datasets/hugging_face/byte_letters.h"

#include <array>

#include "datasets/utf8.h"

namespace oasis {
namespace {

constexpr char32_t kFirstStandIn = 0x100;
constexpr char32_t kLetterCount = kFirstStandIn + 68;

struct Letters {
  std::array<char32_t, 256> of_byte{};
  std::array<int, kLetterCount> byte_of{};  // −1: not a letter

  constexpr Letters() {
    byte_of.fill(-1);
    char32_t stand_in = kFirstStandIn;
    for (unsigned byte = 0; byte < 256; ++byte) {
      const bool prints = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
      of_byte[byte] = prints ? byte : stand_in++;
      byte_of[of_byte[byte]] = static_cast<int>(byte);
    }
  }
};

constexpr Letters kLetters;

}  // namespace

std::string byte_letter(unsigned char byte) {
  const char32_t letter = kLetters.of_byte[byte];
  if (letter < 0x80) return {static_cast<char>(letter)};
  return {static_cast<char>(0xc0 | letter >> 6), static_cast<char>(0x80 | (letter & 0x3f))};
}

std::optional<std::string> bytes_of_letters(std::string_view token) {
  std::string bytes;
  while (!token.empty()) {
    const auto character = token.substr(0, character_length(token));
    if (character.empty()) return std::nullopt;
    const char32_t letter = code_point(character);
    if (letter >= kLetterCount || kLetters.byte_of[letter] < 0) return std::nullopt;
    bytes += static_cast<char>(kLetters.byte_of[letter]);
    token.remove_prefix(character.size());
  }
  return bytes;
}

}  // namespace oasis
