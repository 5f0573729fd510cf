#include "results/integrity.h"

#include <SQLiteCpp/Column.h>
#include <SQLiteCpp/Database.h>
#include <SQLiteCpp/Exception.h>
#include <fmt/format.h>

#include "results/bound_statement.h"

namespace oasis {
namespace {

constexpr const char* kIntegrity = "SELECT integrity_check FROM pragma_integrity_check(20)";
constexpr const char* kForeignKeys =
    "SELECT \"table\", ifnull(rowid, '?'), parent FROM pragma_foreign_key_check LIMIT 20";

}  // namespace

std::vector<std::string> integrity_problems(const std::filesystem::path& path) {
  std::vector<std::string> problems;
  try {
    SQLite::Database database(path, SQLite::OPEN_READONLY, /*aBusyTimeoutMs=*/5000);
    if (database.execAndGet("SELECT count(*) FROM sqlite_schema").getInt() == 0) {
      return {"holds nothing"};
    }
    BoundStatement integrity(database, kIntegrity);
    while (integrity.step()) problems.push_back(integrity.text(0));
    if (problems == std::vector<std::string>{"ok"}) problems.clear();
    BoundStatement keys(database, kForeignKeys);
    while (keys.step()) {
      problems.push_back(fmt::format("row {} of {} names a row of {} that is not there",
                                     keys.text(1), keys.text(0), keys.text(2)));
    }
  } catch (const SQLite::Exception& error) {
    problems.emplace_back(error.what());
  }
  return problems;
}

}  // namespace oasis
