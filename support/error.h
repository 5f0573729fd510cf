// The one exception type that crosses a boundary.
//
// A message says what was wrong, where (file, field or line), and what to do about it.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace oasis {

class Error : public std::runtime_error {
 public:
  enum class Kind {
    kBadInput,  // the user's input: exit status 2, nothing was written
    kFailed,    // the run itself: exit status 1
  };

  Error(Kind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}

  Kind kind() const { return kind_; }
  int exit_status() const { return kind_ == Kind::kBadInput ? 2 : 1; }

 private:
  Kind kind_;
};

// throw bad_input("{}: field '{}' must be positive, not {}; …", path, field, value);
template <typename... Args>
[[nodiscard]] Error bad_input(fmt::format_string<Args...> format, Args&&... args) {
  return Error(Error::Kind::kBadInput, fmt::format(format, std::forward<Args>(args)...));
}

template <typename... Args>
[[nodiscard]] Error failed(fmt::format_string<Args...> format, Args&&... args) {
  return Error(Error::Kind::kFailed, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace oasis
