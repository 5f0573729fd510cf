// Regular expressions on UTF-8 text, by PCRE2 and its just-in-time compiler.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace oasis {

// What one thread needs to match, whatever the expression.
class RegexState {
 public:
  RegexState();
  ~RegexState();
  RegexState(const RegexState&) = delete;
  RegexState& operator=(const RegexState&) = delete;

 private:
  friend class Regex;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Immutable; safe from several threads, each with a state of its own.
class Regex {
 public:
  enum class Syntax {
    kPattern,  // PCRE2's, with Unicode properties
    kLiteral,  // no character means anything but itself
  };

  // Throws Error (bad input) that names `where`, the mistake and its place.
  Regex(const std::string& pattern, Syntax syntax, std::string where);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) = delete;

  struct Match {
    std::size_t begin = 0;
    std::size_t end = 0;
  };

  // The first match from byte `from` on, which must be a character's start in valid UTF-8. Throws
  // Error (bad input) when the expression needs more than the bounds on steps and memory.
  std::optional<Match> find(std::string_view text, std::size_t from, RegexState& state) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace oasis
