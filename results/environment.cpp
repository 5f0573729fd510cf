#include "results/environment.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sched.h>
#include <sqlite3.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <fstream>
#include <iterator>
#include <sstream>
#include <thread>

namespace oasis {
namespace {

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// The value of "key<separator>value" in a file of such lines, quotes removed; "" when absent.
std::string field_of(const std::string& path, const std::string& key, char separator) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key)) continue;
    const auto at = line.find(separator);
    if (at == std::string::npos) continue;
    const auto begin = line.find_first_not_of(" \t\"", at + 1);
    const auto end = line.find_last_not_of(" \t\"");
    return begin == std::string::npos ? "" : line.substr(begin, end - begin + 1);
  }
  return "";
}

std::int64_t usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
  return std::max(1U, std::thread::hardware_concurrency());
}

// Start of a process in clock ticks since boot, field 22 of /proc/PID/stat (proc(5)); "" when there
// is none. The program's name, field 2, may hold spaces and brackets: count from its end.
std::string process_start(const std::string& pid) {
  std::ifstream file("/proc/" + pid + "/stat");
  std::string text(std::istreambuf_iterator<char>(file), {});
  const auto name_end = text.rfind(')');
  if (name_end == std::string::npos) return "";
  std::istringstream fields(text.substr(name_end + 1));
  std::string field;
  for (int index = 3; index <= 22; ++index) fields >> field;
  return field;
}

std::string shell_quoted(const std::string& word) {
  const bool plain =
      !word.empty() && word.find_first_of(" \t\n\"'\\$`*?;&|<>()[]{}~#!") == std::string::npos;
  if (plain) return word;
  std::string quoted = "'";
  for (const char letter : word) {
    if (letter == '\'') {
      quoted += "'\\''";
    } else {
      quoted += letter;
    }
  }
  return quoted + "'";
}

}  // namespace

std::string utc_now() {
  const auto now = std::chrono::system_clock::now();
  const auto microseconds =
      std::chrono::duration_cast<std::chrono::microseconds>(now.time_since_epoch()).count() %
      1'000'000;
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:06}Z",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(now)), microseconds);
}

std::string this_process() {
  const std::string pid = std::to_string(::getpid());
  return fmt::format("{}:{}:{}", first_line("/proc/sys/kernel/random/boot_id"), pid,
                     process_start(pid));
}

bool process_lives(const std::string& process) {
  const auto first = process.find(':');
  const auto second = process.find(':', first + 1);
  if (first == std::string::npos || second == std::string::npos) return false;
  if (process.substr(0, first) != first_line("/proc/sys/kernel/random/boot_id")) return false;
  const std::string start = process_start(process.substr(first + 1, second - first - 1));
  return !start.empty() && start == process.substr(second + 1);
}

Environment host_environment(int argc, const char* const* argv) {
  Environment environment;
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) == 0) environment.machine = host.data();
  environment.operating_system = field_of("/etc/os-release", "PRETTY_NAME", '=');
  environment.cpu = field_of("/proc/cpuinfo", "model name", ':');
  environment.cores = usable_cores();
  environment.memory_bytes = std::int64_t{::sysconf(_SC_PHYS_PAGES)} * ::sysconf(_SC_PAGE_SIZE);
  environment.libraries["sqlite"] = ::sqlite3_libversion();
  environment.source_revision = source_revision();
  environment.source_dirty = source_dirty();
  environment.build_type = build_type();
  for (int i = 0; i < argc; ++i) {
    if (i > 0) environment.command_line += ' ';
    environment.command_line += shell_quoted(argv[i]);
  }
  return environment;
}

}  // namespace oasis
