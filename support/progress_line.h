// Where long work stands: one line that rewrites itself on a terminal, plain lines at a bounded
// rate when the output is a file or a pipe.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>

namespace oasis {

class ProgressLine {
 public:
  using Clock = std::function<double()>;  // seconds, monotonic

  struct Style {
    bool terminal = false;
    double interval_s = 0.1;             // at least this long between two lines
    static Style of(std::FILE* output);  // by whether it is a terminal; 5 s between plain lines
  };

  explicit ProgressLine(std::FILE* output);
  ProgressLine(std::FILE* output, Style style, Clock clock);
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  // Work of `total` units begins, `done` of them in an earlier session: they do not count for the
  // rate. `total` 0: not known.
  void begin(std::string what, double done, double total, std::string unit);
  // "what 120/300 steps (40 %), 3.1k steps/s, 12s left, detail". The last state is always shown.
  void update(double done, const std::string& detail = "");
  void end();

  // A line of its own, above the updating one.
  void message(const std::string& text);

 private:
  void show(bool force);
  void erase();
  std::string text(double now) const;

  std::FILE* output_;
  Style style_;
  Clock clock_;
  bool active_ = false;
  bool shown_current_ = true;
  std::size_t width_shown_ = 0;
  std::string what_, unit_, detail_;
  double began_ = 0, last_shown_ = -1e300;
  double first_ = 0, done_ = 0, total_ = 0;
};

}  // namespace oasis
