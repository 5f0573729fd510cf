// When to stop after the current step: a time limit, or SIGINT or SIGTERM.
#pragma once

#include <chrono>
#include <optional>
#include <string>

namespace oasis {

// "90", "90s", "15m", "2h", "1h30m": seconds. Throws Error (bad input).
double parse_duration(const std::string& text);

class StopSource {
 public:
  // Counts from construction.
  explicit StopSource(std::optional<double> time_limit_s = std::nullopt);

  bool requested() const { return signal() != 0 || past_limit(); }
  int signal() const;          // 0: none
  std::string reason() const;  // "the time limit of 15m is reached", "interrupted (SIGINT)"

 private:
  bool past_limit() const;

  std::optional<double> time_limit_s_;
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
};

// From now on the first SIGINT or SIGTERM asks every StopSource to stop; another one of the same
// kind, a second or more later, ends the process at once, which loses no more than the work since
// the last checkpoint.
void stop_on_signals();

}  // namespace oasis
