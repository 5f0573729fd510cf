#include "results/sqlite_error.h"

#include <sqlite3.h>

#include <cstring>

#include "support/error.h"

namespace oasis {

int sqlite_system_errno(SQLite::Database& database) {
  return ::sqlite3_system_errno(database.getHandle());
}

void rethrow_sqlite(const std::filesystem::path& path, const SQLite::Exception& error,
                    int system_errno) {
  const std::string file = path.string();
  const int code = error.getErrorCode();
  if (code == SQLITE_FULL || (code == SQLITE_IOERR && says_disk_full(system_errno))) {
    throw disk_full(file, "what was stored before is intact");
  }
  switch (code) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      throw bad_input(
          "{}: locked by another process for longer than the time allowed; wait until it ends, or "
          "name another file with --db",
          file);
    case SQLITE_READONLY:
    case SQLITE_PERM:
      throw bad_input(
          "{}: cannot be written: the file or its folder is read-only; make both writable, or name "
          "another file with --db",
          file);
    case SQLITE_CANTOPEN:
      throw bad_input("{}: cannot be opened{}{}; check the path and that the folder is writable",
                      file, system_errno == 0 ? "" : ": ",
                      system_errno == 0 ? "" : std::strerror(system_errno));
    case SQLITE_NOTADB:
      throw bad_input("{}: is not a database; name another file with --db", file);
    case SQLITE_CORRUPT:
      throw bad_input(
          "{}: is damaged ({}); restore a copy of it, or save what is left: sqlite3 {} .recover | "
          "sqlite3 recovered.db",
          file, error.getErrorStr(), file);
    default:
      throw failed("{}: SQLite reports: {} ({})", file, error.what(), error.getErrorStr());
  }
}

}  // namespace oasis
