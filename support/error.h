// The one exception type that crosses a boundary.
//
// A message says what was wrong, where (file, field or line), and what to do about it.
#pragma once

#include <fmt/format.h>

#include <cerrno>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace oasis {

class Error : public std::runtime_error {
 public:
  enum class Kind {
    kBadInput,  // the user's input: exit status 2, nothing was written
    kDiskFull,  // the remedy is the user's too: exit status 2
    kFailed,    // the run itself: exit status 1
  };

  Error(Kind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}

  Kind kind() const { return kind_; }
  int exit_status() const { return kind_ == Kind::kFailed ? 1 : 2; }

 private:
  Kind kind_;
};

// throw bad_input("{}: field '{}' must be positive, not {}; …", path, field, value);
template <typename... Args>
[[nodiscard]] Error bad_input(fmt::format_string<Args...> format, Args&&... args) {
  return Error(Error::Kind::kBadInput, fmt::format(format, std::forward<Args>(args)...));
}

// `kept`: what is whole in spite of it.
[[nodiscard]] inline Error disk_full(std::string_view file, std::string_view kept) {
  return Error(Error::Kind::kDiskFull,
               fmt::format("{}: the disk is full; {}. Free some space and run the same command "
                           "again to continue",
                           file, kept));
}

inline bool says_disk_full(int system_errno) {
  return system_errno == ENOSPC || system_errno == EDQUOT;
}

template <typename... Args>
[[nodiscard]] Error failed(fmt::format_string<Args...> format, Args&&... args) {
  return Error(Error::Kind::kFailed, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace oasis
