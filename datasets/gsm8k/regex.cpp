#define PCRE2_CODE_UNIT_WIDTH 8
#include "datasets/gsm8k/regex.h"

#include <pcre2.h>

#include <array>
#include <memory>
#include <span>

#include "support/error.h"

namespace oasis::gsm8k {
namespace {

std::string message_of(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

}  // namespace

Regex::Regex(std::string_view pattern) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  code_ = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), 0, &error,
                        &offset, nullptr);
  if (code_ == nullptr) {
    throw failed("regular expression '{}': {} at {}", pattern, message_of(error), offset);
  }
}

Regex::~Regex() {
  pcre2_code_free(code_);
}

std::optional<Regex::Match> Regex::find(std::string_view subject, std::size_t from) const {
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> data(
      pcre2_match_data_create_from_pattern(code_, nullptr), &pcre2_match_data_free);
  if (!data) throw failed("out of memory for a regular expression's match");
  const int count = pcre2_match(code_, reinterpret_cast<PCRE2_SPTR>(subject.data()), subject.size(),
                                from, 0, data.get(), nullptr);
  if (count == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (count < 0) throw failed("matching a regular expression: {}", message_of(count));
  // Begin and end of all that matched, then of each group.
  const std::span bounds(pcre2_get_ovector_pointer(data.get()),
                         2 * static_cast<std::size_t>(count));
  const auto part = [&](std::size_t at) {
    return subject.substr(bounds[at], bounds[at + 1] - bounds[at]);
  };
  Match match{.group = part(0), .end = bounds[1]};
  for (std::size_t at = 2; at < bounds.size(); at += 2) {
    if (bounds[at] == PCRE2_UNSET) continue;
    match.group = part(at);
    break;
  }
  return match;
}

std::optional<Regex::Match> Regex::find_last(std::string_view subject) const {
  std::optional<Match> last;
  while (const auto next = find(subject, last ? last->end : 0)) last = next;
  return last;
}

}  // namespace oasis::gsm8k
