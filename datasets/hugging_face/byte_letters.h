// The alphabet of byte-level BPE: one printable character for each byte, as GPT-2 chose them
// (Radford et al. 2019). Bytes that print in Latin-1 stand for themselves; the other 68 are
// U+0100, U+0101, … in order: a space is Ġ, a newline Ċ.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace oasis {

std::string byte_letter(unsigned char byte);  // UTF-8

// The bytes that a token's text stands for; nothing when it holds another character.
std::optional<std::string> bytes_of_letters(std::string_view token);

}  // namespace oasis
