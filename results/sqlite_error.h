// SQLite's error codes turned into messages that a user can act on.
#pragma once

#include <SQLiteCpp/Database.h>
#include <SQLiteCpp/Exception.h>

#include <filesystem>
#include <utility>

#include "support/error.h"

namespace oasis {

// Throws the Error that `error` means for the database at `path`: bad input when the file is not
// usable as it is (locked, read-only, damaged, not a database), disk full, failed otherwise.
[[noreturn]] void rethrow_sqlite(const std::filesystem::path& path, const SQLite::Exception& error,
                                 int system_errno = 0);

int sqlite_system_errno(SQLite::Database& database);

// Runs `work` on the open database and translates what it throws.
template <typename Work>
auto guarded(const std::filesystem::path& path, SQLite::Database& database, Work&& work) {
  try {
    return std::forward<Work>(work)();
  } catch (const SQLite::Exception& error) {
    rethrow_sqlite(path, error, sqlite_system_errno(database));
  }
}

}  // namespace oasis
