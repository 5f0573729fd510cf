#include "results/find_database.h"

#include <algorithm>
#include <string>
#include <vector>

#include "support/error.h"
#include "support/text.h"

namespace oasis {

namespace fs = std::filesystem;

std::vector<std::string> databases_here() {
  std::error_code ignored;
  std::vector<std::string> found;
  if (fs::exists("oasis.db", ignored)) found.emplace_back("oasis.db");
  for (const auto& entry : fs::directory_iterator("runs", ignored)) {
    const fs::path database = entry.path() / "results.db";
    if (fs::exists(database, ignored)) found.push_back(database.string());
  }
  std::sort(found.begin(), found.end());
  return found;
}

fs::path find_database(const std::string& given, const std::string& suite) {
  std::error_code ignored;
  if (!given.empty()) {
    const fs::path inside = fs::path(given) / "results.db";
    return fs::is_directory(given, ignored) && fs::exists(inside, ignored) ? inside
                                                                           : fs::path(given);
  }
  if (auto of_suite = fs::path("runs") / suite / "results.db";
      !suite.empty() && fs::exists(of_suite, ignored)) {
    return of_suite;
  }
  const auto found = databases_here();
  if (found.size() == 1) return found.front();
  if (found.empty()) {
    throw bad_input(
        "no results database here (neither oasis.db nor runs/*/results.db); run a suite first, or "
        "name the file with --db");
  }
  throw bad_input("more than one results database here: {}; name one with --db", join(found, ", "));
}

}  // namespace oasis
