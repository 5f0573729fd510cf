// Characters of UTF-8 text.
#pragma once

#include <cstddef>
#include <string_view>

namespace oasis {

// The bytes of the valid character at the start of `text`, which must not be empty; 0 when what is
// there is not one (Unicode 15, table 3-7: no overlong forms, no surrogates, nothing past
// U+10FFFF).
std::size_t character_length(std::string_view text);

// How many bytes at the start of `text` are valid characters, one after the other.
std::size_t valid_prefix(std::string_view text);

// Of valid text that is not empty: the bytes of its last character.
std::size_t last_character_length(std::string_view text);

// `character`: one valid character, whole.
char32_t code_point(std::string_view character);

// The property White_Space.
bool is_white_space(char32_t character);

}  // namespace oasis
