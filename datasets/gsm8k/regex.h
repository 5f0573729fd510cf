// PCRE2 over bytes, for patterns of ASCII alone: these match the same bytes as Python's `re` does
// in the decoded text, and bytes that are not UTF-8 cannot make it fail.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

struct pcre2_real_code_8;

namespace oasis::gsm8k {

class Regex {
 public:
  explicit Regex(std::string_view pattern);
  ~Regex();
  Regex(const Regex&) = delete;
  Regex& operator=(const Regex&) = delete;

  struct Match {
    std::string_view group;  // the first group that took part, or all that matched; in the subject
    std::size_t end = 0;     // of all that matched
  };
  // The first match at or after byte `from`. Matches must not be empty. Safe from several threads.
  std::optional<Match> find(std::string_view subject, std::size_t from = 0) const;
  // The last of the matches that follow each other from the start, as Python's findall has them.
  std::optional<Match> find_last(std::string_view subject) const;

 private:
  ::pcre2_real_code_8* code_;
};

}  // namespace oasis::gsm8k
