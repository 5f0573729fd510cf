#include "datasets/hugging_face/nfc.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>

#include "datasets/utf8.h"
#include "support/error.h"

namespace oasis {
namespace {

struct Range {
  char32_t first;
  char32_t last;
};

// Characters that combine, compose or decompose, and came after Unicode 9. A range also covers code
// points that nothing was assigned to by then.
constexpr std::array<Range, 28> kLater = {{
    {0x05c8, 0x05c9},   {0x07fd, 0x07fd},   {0x0897, 0x089f},   {0x08ca, 0x08d3},
    {0x09fe, 0x09fe},   {0x0c3c, 0x0c3c},   {0x0d3b, 0x0d3c},   {0x0eba, 0x0eba},
    {0x1715, 0x1715},   {0x1abf, 0x1af0},   {0x1df6, 0x1dfa},   {0xa82c, 0xa82c},
    {0x105c9, 0x105e4}, {0x10d24, 0x10d6d}, {0x10eab, 0x10f85}, {0x11070, 0x11070},
    {0x1133b, 0x1133b}, {0x11382, 0x113d0}, {0x1145e, 0x1145e}, {0x11839, 0x1183a},
    {0x11930, 0x11a99}, {0x11d42, 0x11f42}, {0x1611e, 0x1612f}, {0x16d63, 0x16d6a},
    {0x16ff0, 0x16ff1}, {0x1d127, 0x1d128}, {0x1d250, 0x1d281}, {0x1e08f, 0x1e6f5},
}};

bool is_later(char32_t c) {
  const auto range = std::lower_bound(kLater.begin(), kLater.end(), c,
                                      [](const Range& r, char32_t code) { return r.last < code; });
  return range != kLater.end() && c >= range->first;
}

// Characters below U+0300, dashes and quotation marks (U+2002 to U+203F): they are normalized, and
// stay so beside each other.
bool is_surely_normalized(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0xcc) continue;
    if (byte != 0xe2 || static_cast<unsigned char>(text[i + 1]) != 0x80 ||
        static_cast<unsigned char>(text[i + 2]) < 0x82) {
      return false;
    }
    i += 2;
  }
  return true;
}

void append_normalized(std::string_view text, std::string& out) {
  if (text.empty()) return;
  utf8proc_uint8_t* composed = nullptr;
  const auto length =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &composed,
                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(composed, &std::free);
  if (length < 0) throw failed("normalizing text: {}", utf8proc_errmsg(length));
  out.append(reinterpret_cast<const char*>(composed), static_cast<std::size_t>(length));
}

}  // namespace

std::string_view to_nfc(std::string_view text, std::string& buffer) {
  if (is_surely_normalized(text)) return text;
  buffer.clear();
  std::size_t done = 0;
  for (std::size_t at = 0; at < text.size();) {
    const auto character = text.substr(at, character_length(text.substr(at)));
    if (is_later(code_point(character))) {
      append_normalized(text.substr(done, at - done), buffer);
      buffer += character;
      done = at + character.size();
    }
    at += character.size();
  }
  append_normalized(text.substr(done), buffer);
  return buffer;
}

}  // namespace oasis
