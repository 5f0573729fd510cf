#include "support/progress_line.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "support/text.h"

namespace oasis {
namespace {

constexpr double kLinesOfLongWork = 20;
constexpr double kSlowest = 120;  // seconds between two plain lines, at most

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::size_t terminal_width(std::FILE* output) {
  winsize size{};
  if (::ioctl(::fileno(output), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

}  // namespace

ProgressLine::Style ProgressLine::Style::of(std::FILE* output) {
  const bool terminal = ::isatty(::fileno(output)) == 1;
  return {terminal, terminal ? 0.1 : 5.0};
}

ProgressLine::ProgressLine(std::FILE* output)
    : ProgressLine(output, Style::of(output), steady_seconds) {}

ProgressLine::ProgressLine(std::FILE* output, Style style, Clock clock)
    : output_(output), style_(style), clock_(std::move(clock)) {}

ProgressLine::~ProgressLine() {
  try {
    erase();
  } catch (const std::exception&) {
    // What is left on the terminal is not worth an end of the program.
  }
}

void ProgressLine::begin(std::string what, double done, double total, std::string unit) {
  what_ = std::move(what);
  unit_ = std::move(unit);
  detail_.clear();
  first_ = done_ = done;
  total_ = total;
  began_ = clock_();
  if (style_.terminal) last_shown_ = -1e300;
  active_ = true;
  shown_current_ = false;
}

void ProgressLine::update(double done, const std::string& detail) {
  done_ = done;
  detail_ = detail;
  shown_current_ = false;
  show(false);
}

void ProgressLine::end() {
  if (!active_) return;
  if (!style_.terminal && !shown_current_) show(true);
  erase();
  active_ = false;
}

void ProgressLine::message(const std::string& text) {
  erase();
  fmt::print(output_, "{}\n", text);
  std::fflush(output_);
  if (active_ && style_.terminal) show(true);
}

void ProgressLine::show(bool force) {
  const double now = clock_();
  // Plain lines stay in a log: the longer the work, the fewer of them.
  const double interval =
      style_.terminal ? style_.interval_s
                      : std::clamp((now - began_) / kLinesOfLongWork, style_.interval_s, kSlowest);
  if (!active_ || (!force && now - last_shown_ < interval)) return;
  last_shown_ = now;
  shown_current_ = true;
  std::string line = text(now);
  if (style_.terminal) {
    line.resize(std::min(line.size(), terminal_width(output_) - 1));
    const std::size_t blanks = width_shown_ > line.size() ? width_shown_ - line.size() : 0;
    fmt::print(output_, "\r{}{}", line, std::string(blanks, ' '));
    width_shown_ = line.size();
  } else {
    fmt::print(output_, "{}\n", line);
  }
  std::fflush(output_);
}

void ProgressLine::erase() {
  if (width_shown_ == 0) return;
  fmt::print(output_, "\r{}\r", std::string(std::exchange(width_shown_, 0), ' '));
  std::fflush(output_);
}

std::string ProgressLine::text(double now) const {
  std::string line = what_;
  if (total_ > 0) {
    line += fmt::format(" {}/{} {} ({:.0f} %)", human_count(done_), human_count(total_), unit_,
                        100 * done_ / total_);
  } else {
    line += fmt::format(" {} {}", human_count(done_), unit_);
  }
  const double elapsed = now - began_;
  const double rate = elapsed > 0 ? (done_ - first_) / elapsed : 0;
  if (rate > 0) {
    line += rate < 100 ? fmt::format(", {:.1f} {}/s", rate, unit_)
                       : fmt::format(", {} {}/s", human_count(rate), unit_);
    if (total_ > done_) line += fmt::format(", {} left", human_duration((total_ - done_) / rate));
  }
  if (!detail_.empty()) line += ", " + detail_;
  return line;
}

}  // namespace oasis
