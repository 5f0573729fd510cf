#include "results/schema.h"

#include <SQLiteCpp/Statement.h>
#include <SQLiteCpp/Transaction.h>
#include <sqlite3.h>

#include <algorithm>
#include <array>
#include <string>
#include <thread>
#include <vector>

#include "results/sql_text.h"
#include "results/sqlite_error.h"
#include "support/error.h"
#include "support/sha256.h"
#include "support/text.h"

namespace oasis {
namespace {

constexpr std::string_view kCreateView = "CREATE VIEW ";

std::vector<std::string> view_names() {
  std::vector<std::string> names;
  for (auto at = kViewsSql.find(kCreateView); at != std::string_view::npos;
       at = kViewsSql.find(kCreateView, at + 1)) {
    const auto begin = at + kCreateView.size();
    names.emplace_back(kViewsSql.substr(begin, kViewsSql.find(' ', begin) - begin));
  }
  return names;
}

std::string stored_fact(SQLite::Database& database, const std::string& name) {
  SQLite::Statement query(database, "SELECT value FROM meta WHERE name = ?");
  query.bind(1, name);
  return query.executeStep() ? query.getColumn(0).getString() : "";
}

void store_fact(SQLite::Database& database, const std::string& name, const std::string& value) {
  SQLite::Statement insert(database, "INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)");
  insert.bind(1, name);
  insert.bind(2, value);
  insert.exec();
}

// Views that a user made are left alone: only names that this or an earlier build defined go.
void drop_own_views(SQLite::Database& database) {
  std::vector<std::string> names = view_names();
  const std::string stored = stored_fact(database, "views");
  for (std::size_t begin = 0; begin < stored.size();) {
    const std::size_t end = std::min(stored.find(' ', begin), stored.size());
    names.push_back(stored.substr(begin, end - begin));
    begin = end + 1;
  }
  for (const auto& name : names) {
    if (name.find('"') == std::string::npos) database.exec("DROP VIEW IF EXISTS \"" + name + "\"");
  }
}

void create_views(SQLite::Database& database) {
  database.exec(std::string(kViewsSql));
  store_fact(database, "views", join(view_names(), " "));
  store_fact(database, "views_sha256", sha256_hex(kViewsSql));
}

// Turning WAL on does not wait for other processes that use the file; this does.
void turn_wal_on(SQLite::Database& database, std::chrono::milliseconds busy_timeout) {
  if (database.execAndGet("PRAGMA journal_mode").getString() == "wal") return;
  const auto deadline = std::chrono::steady_clock::now() + busy_timeout;
  for (;;) {
    try {
      database.execAndGet("PRAGMA journal_mode = WAL");
      return;
    } catch (const SQLite::Exception& error) {
      const int code = error.getErrorCode();
      const bool others = code == SQLITE_BUSY || code == SQLITE_LOCKED;
      if (!others || std::chrono::steady_clock::now() > deadline) throw;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
}

}  // namespace

std::span<const Migration> schema_migrations() {
  static const std::array kMigrations = {Migration{1, kSchemaV1Sql}, Migration{2, kSchemaV2Sql},
                                         Migration{3, kSchemaV3Sql}, Migration{4, kSchemaV4Sql},
                                         Migration{5, kSchemaV5Sql}};
  return kMigrations;
}

int checked_schema_version(SQLite::Database& database, const std::filesystem::path& path,
                           std::span<const Migration> migrations) {
  // One statement, so one state of the file: another process may be making it at this moment.
  SQLite::Statement state(
      database,
      "SELECT user_version, application_id, (SELECT count(*) FROM sqlite_schema)"
      " FROM pragma_user_version, pragma_application_id");
  state.executeStep();
  const int version = state.getColumn(0).getInt();
  const int application = state.getColumn(1).getInt();
  const bool empty = state.getColumn(2).getInt() == 0;
  if (application != kApplicationId && !(empty && application == 0 && version == 0)) {
    throw bad_input("{}: is a SQLite database of another program; name another file with --db",
                    path.string());
  }
  const int newest = migrations.back().version;
  if (version > newest) {
    throw bad_input(
        "{}: has schema version {}, but this build of oasis knows versions up to {}; update oasis, "
        "or name another file with --db",
        path.string(), version, newest);
  }
  return version;
}

void migrate_schema(SQLite::Database& database, const std::filesystem::path& path,
                    std::chrono::milliseconds busy_timeout, std::span<const Migration> migrations) {
  const int newest = migrations.back().version;
  const int before = checked_schema_version(database, path, migrations);
  if (before != newest || stored_fact(database, "views_sha256") != sha256_hex(kViewsSql)) {
    // A migration may rebuild tables that others refer to; what it leaves is checked as a whole.
    database.exec("PRAGMA foreign_keys = OFF");
    SQLite::Transaction transaction(database, SQLite::TransactionBehavior::EXCLUSIVE);
    const int version = checked_schema_version(database, path, migrations);
    if (version > 0) drop_own_views(database);  // a table that a view reads cannot be renamed
    for (const auto& migration : migrations) {
      if (migration.version <= version) continue;
      database.exec(std::string(migration.sql));
      database.exec("PRAGMA user_version = " + std::to_string(migration.version));
    }
    database.exec("PRAGMA application_id = " + std::to_string(kApplicationId));
    create_views(database);
    if (SQLite::Statement check(database, "PRAGMA foreign_key_check"); check.executeStep()) {
      throw failed(
          "{}: rows of table {} refer to rows that do not exist; the file was left at schema "
          "version {}",
          path.string(), check.getColumn(0).getString(), before);
    }
    transaction.commit();
  }
  // Only now, so that a file that could not be filled is still empty.
  turn_wal_on(database, busy_timeout);
}

void shadow_old_views(SQLite::Database& database) {
  if (stored_fact(database, "views_sha256") == sha256_hex(kViewsSql)) return;
  constexpr std::string_view kCreateTemporary = "CREATE TEMP VIEW ";
  std::string text(kViewsSql);
  for (auto at = text.find(kCreateView); at != std::string::npos;
       at = text.find(kCreateView, at + kCreateTemporary.size())) {
    text.replace(at, kCreateView.size(), kCreateTemporary);
  }
  database.exec("PRAGMA temp_store = MEMORY");
  database.exec(text);
}

}  // namespace oasis
