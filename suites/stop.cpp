#include "suites/stop.h"

#include <atomic>
#include <cctype>
#include <charconv>
#include <csignal>
#include <cstdint>
#include <ctime>

#include "support/error.h"
#include "support/text.h"

namespace oasis {
namespace {

// timeout(1) and batch systems signal a process and its group, which arrives twice.
constexpr std::int64_t kRepeatNs = 1'000'000'000;

std::atomic<int> received_signal{0};
std::atomic<std::int64_t> received_ns{0};
static_assert(std::atomic<std::int64_t>::is_always_lock_free, "used in a signal handler");

void remember(int number) {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const std::int64_t now_ns = now.tv_sec * 1'000'000'000 + now.tv_nsec;
  if (received_signal.load() == number && now_ns - received_ns.load() >= kRepeatNs) {
    std::signal(number, SIG_DFL);
    std::raise(number);  // delivered when this handler returns
    return;
  }
  if (received_signal.exchange(number) != number) received_ns.store(now_ns);
}

}  // namespace

double parse_duration(const std::string& text) {
  double total = 0;
  const char* next = text.data();
  const char* const end = text.data() + text.size();
  bool any = false;
  while (next != end) {
    double number = 0;
    const auto [after, error] = std::from_chars(next, end, number, std::chars_format::fixed);
    const bool plain = error == std::errc() && after == end && !any;
    double unit = plain ? 1 : 0;
    next = after;
    if (error == std::errc() && next != end) {
      unit = *next == 's' ? 1 : *next == 'm' ? 60 : *next == 'h' ? 3600 : *next == 'd' ? 86400 : 0;
      ++next;
    }
    if (unit == 0 || !(number >= 0)) {
      any = false;
      break;
    }
    total += number * unit;
    any = true;
  }
  if (!any || !(total > 0) || total > 1e9) {
    throw bad_input("'{}' is not a duration; write 90s, 15m, 2h or 1h30m", text);
  }
  return total;
}

StopSource::StopSource(std::optional<double> time_limit_s) : time_limit_s_(time_limit_s) {}

int StopSource::signal() const {
  return received_signal.load();
}

bool StopSource::past_limit() const {
  if (!time_limit_s_) return false;
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - began_;
  return elapsed.count() >= *time_limit_s_;
}

std::string StopSource::reason() const {
  if (signal() == SIGINT) return "interrupted (SIGINT)";
  if (signal() == SIGTERM) return "asked to end (SIGTERM)";
  if (past_limit()) return "the time limit of " + human_duration(*time_limit_s_) + " is reached";
  return "";
}

void stop_on_signals() {
  received_signal.store(0);
  std::signal(SIGINT, remember);
  std::signal(SIGTERM, remember);
}

}  // namespace oasis
