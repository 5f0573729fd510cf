// The schema of the results database, its versions, and how an older file becomes a newer one.
//
// `PRAGMA user_version` holds the version, `PRAGMA application_id` says that the file is ours.
// Views belong to the program, not to the schema version: they are recreated when their text
// changed.
#pragma once

#include <SQLiteCpp/Database.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>

namespace oasis {

inline constexpr std::int32_t kApplicationId = 0x4F415349;  // "OASI"

struct Migration {
  int version;           // that the file has afterwards; 1, 2, … without a gap
  std::string_view sql;  // run inside one transaction with all the others that are due
};

// All versions of this build, oldest first.
std::span<const Migration> schema_migrations();

// Throws Error (bad input) when the file is a database of another program or of a version newer
// than the last of `migrations`. An empty database is version 0.
int checked_schema_version(SQLite::Database& database, const std::filesystem::path& path,
                           std::span<const Migration> migrations);

// Makes a database, empty or of any older version, one of the newest version with current views.
// Everything or nothing: on an error the file is as before. Waits up to `busy_timeout` for others.
void migrate_schema(SQLite::Database& database, const std::filesystem::path& path,
                    std::chrono::milliseconds busy_timeout,
                    std::span<const Migration> migrations = schema_migrations());

// For a database that cannot be written: puts current views, as temporary ones, before those in the
// file when they differ.
void shadow_old_views(SQLite::Database& database);

}  // namespace oasis
