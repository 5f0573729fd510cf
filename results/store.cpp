#include "results/store.h"

#include <SQLiteCpp/Backup.h>
#include <SQLiteCpp/Database.h>
#include <SQLiteCpp/Statement.h>
#include <fmt/format.h>
#include <sqlite3.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <random>
#include <utility>

#include "results/bound_statement.h"
#include "results/environment.h"
#include "results/schema.h"
#include "results/sqlite_error.h"
#include "results/stage_rows.h"
#include "results/transaction.h"
#include "support/error.h"
#include "support/sha256.h"

namespace oasis {
namespace {

namespace fs = std::filesystem;

// A file: URI, for the `immutable` flag; SQLite decodes %XX in it.
std::string immutable_uri(const fs::path& path) {
  std::string uri = "file:";
  for (const unsigned char letter : fs::absolute(path).string()) {
    if (std::isalnum(letter) != 0 || letter == '/' || letter == '.' || letter == '-') {
      uri += static_cast<char>(letter);
    } else {
      uri += fmt::format("%{:02X}", letter);
    }
  }
  return uri + "?immutable=1";
}

int milliseconds(const Store::Options& options) {
  return static_cast<int>(options.busy_timeout.count());
}

std::unique_ptr<SQLite::Database> open_for_writing(const fs::path& path,
                                                   const Store::Options& options) {
  std::error_code ignored;
  const bool existed = fs::exists(path, ignored);
  if (path.has_parent_path()) {
    std::error_code status;
    fs::create_directories(path.parent_path(), status);
    if (status) {
      throw bad_input("{}: its folder cannot be made: {}; choose a writable folder", path.string(),
                      status.message());
    }
  }
  std::unique_ptr<SQLite::Database> database;
  try {
    errno = 0;
    database = std::make_unique<SQLite::Database>(
        path, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE, milliseconds(options));
  } catch (const SQLite::Exception& error) {
    rethrow_sqlite(path, error, errno);
  }
  try {
    guarded(path, *database, [&] {
      // SQLite falls back to reading when the file may not be written; better to know it now.
      if (::sqlite3_db_readonly(database->getHandle(), "main") == 1) {
        throw SQLite::Exception("read-only", SQLITE_READONLY);
      }
      migrate_schema(*database, path, options.busy_timeout);
      database->exec("PRAGMA foreign_keys = ON");
      database->exec("PRAGMA synchronous = NORMAL");
    });
  } catch (const Error& error) {
    database.reset();
    // Of a file that a full disk left empty nothing stays. Locked, it is another process's.
    if (!existed && error.kind() == Error::Kind::kDiskFull && fs::exists(path, ignored) &&
        fs::file_size(path, ignored) == 0) {
      fs::remove(path, ignored);
    }
    throw;
  }
  return database;
}

// An older file is read from a copy in memory, brought up to date there; the file stays as it is.
std::unique_ptr<SQLite::Database> migrated_copy(SQLite::Database& old, const fs::path& path,
                                                const Store::Options& options) {
  auto copy = std::make_unique<SQLite::Database>(":memory:", SQLite::OPEN_READWRITE);
  SQLite::Backup(*copy, old).executeStep(-1);
  migrate_schema(*copy, path, options.busy_timeout);
  // The schema stays trusted: SQLite would refuse its own json_valid() in the checks of a copy.
  copy->exec("PRAGMA query_only = ON");
  return copy;
}

std::unique_ptr<SQLite::Database> open_for_reading(const fs::path& path,
                                                   const Store::Options& options) {
  std::error_code status;
  if (!fs::exists(path, status)) {
    throw bad_input("{}: no such database; run a suite first, or name another file with --db",
                    path.string());
  }
  const auto open = [&](const std::string& name, int flags) {
    errno = 0;
    auto database = std::make_unique<SQLite::Database>(name, SQLite::OPEN_READONLY | flags,
                                                       milliseconds(options));
    database->exec("PRAGMA trusted_schema = OFF");
    database->execAndGet("PRAGMA user_version");  // the first read is what finds most faults
    return database;
  };
  std::unique_ptr<SQLite::Database> database;
  try {
    database = open(path.string(), 0);
  } catch (const SQLite::Exception& error) {
    // Reading a WAL database makes small files beside it. Where that is impossible, and no writer
    // can be at work for the same reason, it is read as a file that never changes.
    const bool beside =
        error.getErrorCode() == SQLITE_CANTOPEN || error.getErrorCode() == SQLITE_READONLY;
    if (!beside || fs::exists(path.string() + "-wal", status)) rethrow_sqlite(path, error, errno);
    try {
      database = open(immutable_uri(path), SQLite::OPEN_URI);
    } catch (const SQLite::Exception& second) {
      rethrow_sqlite(path, second, errno);
    }
  }
  guarded(path, *database, [&] {
    const int newest = schema_migrations().back().version;
    const int version = checked_schema_version(*database, path, schema_migrations());
    if (version == 0) {
      throw bad_input("{}: holds no results; run a suite first, or name another file with --db",
                      path.string());
    }
    if (version < newest) {
      database = migrated_copy(*database, path, options);
    } else {
      shadow_old_views(*database);
    }
  });
  return database;
}

// What is known of a stage that is to end; throws when it is not running.
std::string running_stage_dataset(SQLite::Database& database, std::int64_t stage_id) {
  BoundStatement query(database, "SELECT evaluated_on, state FROM stages WHERE id = ?");
  query.bind_all(stage_id);
  if (!query.step()) throw failed("stage {} is not in the database", stage_id);
  if (query.text(1) != "running") {
    throw failed("stage {} is {}, not running: it cannot be ended", stage_id, query.text(1));
  }
  return query.text(0);
}

std::string random_uid() {
  std::random_device source;
  return fmt::format("{:08x}{:08x}{:08x}{:08x}", source(), source(), source(), source());
}

}  // namespace

Store::Store(fs::path path, std::unique_ptr<SQLite::Database> database)
    : path_(std::move(path)), database_(std::move(database)) {}
Store::~Store() = default;
Store::Store(Store&&) noexcept = default;
Store& Store::operator=(Store&&) noexcept = default;

Store Store::open(const fs::path& path, Mode mode) {
  return open(path, mode, Options{});
}

Store Store::open(const fs::path& path, Mode mode, Options options) {
  std::error_code status;
  if (path.empty() || fs::is_directory(path, status)) {
    throw bad_input("{}: is a folder, not a database file; name a file with --db", path.string());
  }
  return Store(path, mode == Mode::kCreate ? open_for_writing(path, options)
                                           : open_for_reading(path, options));
}

std::int64_t Store::begin_run(const Environment& environment) {
  return changed(path_, *database_, [&] {
    BoundStatement(
        *database_,
        "INSERT INTO runs (uid, machine, operating_system, cpu, cores, memory_bytes, gpu,"
        " driver, libraries, source_revision, source_dirty, build_type, command_line, process,"
        " started) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
        .run(random_uid(), environment.machine, environment.operating_system, environment.cpu,
             environment.cores, environment.memory_bytes, environment.gpu, environment.driver,
             nlohmann::json(environment.libraries).dump(), environment.source_revision,
             environment.source_dirty, environment.build_type, environment.command_line,
             this_process(), utc_now());
    return database_->getLastInsertRowid();
  });
}

void Store::end_run(std::int64_t run_id) {
  changed(path_, *database_, [&] {
    BoundStatement(*database_, "UPDATE runs SET ended = ? WHERE id = ?").run(utc_now(), run_id);
  });
}

std::int64_t Store::add_suite(std::string_view name, std::string_view json) {
  return changed(path_, *database_, [&] {
    const std::string hash = sha256_hex(json);
    BoundStatement(*database_,
                   "INSERT INTO suites (name, hash, json, used) VALUES (?, ?, ?, ?)"
                   " ON CONFLICT (name, hash) DO UPDATE SET used = excluded.used")
        .run(name, hash, json, utc_now());
    BoundStatement query(*database_, "SELECT id FROM suites WHERE name = ? AND hash = ?");
    query.bind_all(name, hash);
    query.step();
    return query.integer(0);
  });
}

std::int64_t Store::add_cell(const CellSpec& cell) {
  return changed(path_, *database_, [&] {
    const std::string& label = cell.label.empty() ? cell.method : cell.label;
    BoundStatement(*database_,
                   "INSERT INTO cells (suite_id, method, label, dataset, model, seed, config)"
                   " VALUES (?, ?, ?, ?, ?, ?, ?)"
                   " ON CONFLICT (suite_id, label, dataset, model, seed) DO NOTHING")
        .run(cell.suite_id, cell.method, label, cell.dataset, cell.model, cell.seed,
             cell.config_json);
    BoundStatement query(
        *database_,
        "SELECT id, config FROM cells WHERE suite_id = ? AND label = ? AND dataset = ?"
        " AND model = ? AND seed = ?");
    query.bind_all(cell.suite_id, label, cell.dataset, cell.model, cell.seed);
    query.step();
    if (query.text(1) != cell.config_json) {
      throw failed(
          "{}: cell {} on {}, model {}, seed {} is in the database with another configuration; two "
          "cells of a suite that differ need different labels",
          path_.string(), label, cell.dataset, cell.model, cell.seed);
    }
    return query.integer(0);
  });
}

StageRow Store::plan_stage(std::int64_t cell_id, const StageSpec& spec) {
  changed(path_, *database_, [&] {
    BoundStatement(*database_,
                   "INSERT INTO stages (key, kind, parent_key, config, evaluated_on, weight_bits,"
                   " activation_bits, points, quantizer, shots)"
                   " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                   " ON CONFLICT (key) DO NOTHING")
        .run(spec.key, spec.kind, spec.parent_key, spec.config_json, spec.evaluated_on,
             spec.weight_bits, spec.activation_bits, spec.points, spec.quantizer, spec.shots);
    BoundStatement(*database_,
                   "INSERT OR IGNORE INTO cell_stages (cell_id, stage_id)"
                   " SELECT ?, id FROM stages WHERE key = ?")
        .run(cell_id, spec.key);
  });
  return *find_stage(spec.key);
}

bool Store::begin_stage(std::int64_t stage_id, std::int64_t run_id, std::string_view device,
                        std::string_view dtype) {
  const bool ours = changed(path_, *database_, [&] {
    BoundStatement query(*database_,
                         "SELECT t.state, ifnull(r.process, '') FROM stages t"
                         " LEFT JOIN runs r ON r.id = t.run_id WHERE t.id = ?");
    query.bind_all(stage_id);
    if (!query.step()) throw failed("stage {} is not in the database", stage_id);
    const std::string process = query.text(1);
    if (query.text(0) == "done") return false;
    if (query.text(0) == "running" && process != this_process() && process_lives(process)) {
      return false;
    }
    delete_results(*database_, stage_id);
    BoundStatement(*database_,
                   "UPDATE stages SET state = 'running', run_id = ?, device = ?, dtype = ?,"
                   " started = ifnull(started, ?), ended = NULL, error = NULL WHERE id = ?")
        .run(run_id, device, dtype, utc_now(), stage_id);
    return true;
  });
  if (ours) began_[stage_id] = std::chrono::steady_clock::now();
  return ours;
}

void Store::add_curve_points(std::int64_t stage_id, const std::vector<CurvePoint>& points) {
  if (points.empty()) return;
  changed(path_, *database_, [&] {
    BoundStatement row(*database_,
                       "INSERT OR REPLACE INTO curves (stage_id, step, tokens, loss, learning_rate,"
                       " gradient_norm, seconds_per_step) VALUES (?, ?, ?, ?, ?, ?, ?)");
    for (const auto& point : points) {
      row.run(stage_id, point.step, point.tokens, finite(point.loss), point.learning_rate,
              finite(point.gradient_norm), finite(point.seconds_per_step));
    }
  });
}

void Store::truncate_curve(std::int64_t stage_id, std::int64_t step) {
  changed(path_, *database_, [&] {
    BoundStatement(*database_, "DELETE FROM curves WHERE stage_id = ? AND step > ?")
        .run(stage_id, step);
  });
}

void Store::add_event(std::int64_t stage_id, std::optional<std::int64_t> step,
                      std::string_view kind, std::string_view message) {
  changed(path_, *database_, [&] {
    BoundStatement(*database_,
                   "INSERT INTO events (stage_id, run_id, step, kind, message, at)"
                   " SELECT id, run_id, ?, ?, ?, ? FROM stages WHERE id = ?")
        .run(step, kind, message, utc_now(), stage_id);
  });
}

void Store::finish_stage(std::int64_t stage_id, const StageResult& result) {
  end_stage(stage_id, StageState::kDone, "", result);
}

void Store::fail_stage(std::int64_t stage_id, std::string_view reason,
                       std::optional<std::int64_t> step, const std::optional<Artifact>& last_good) {
  end_stage(stage_id, StageState::kFailed, reason.empty() ? "no reason given" : reason,
            {.artifact = last_good, .step = step});
}

void Store::stop_stage(std::int64_t stage_id, std::optional<std::int64_t> step,
                       const std::optional<Artifact>& checkpoint) {
  end_stage(stage_id, StageState::kStopped, "", {.artifact = checkpoint, .step = step});
}

void Store::end_stage(std::int64_t stage_id, StageState state, std::string_view error,
                      const StageResult& result) {
  const auto began = began_.find(stage_id);
  const double seconds =
      began == began_.end()
          ? 0.0
          : std::chrono::duration<double>(std::chrono::steady_clock::now() - began->second).count();
  changed(path_, *database_, [&] {
    const std::string dataset = running_stage_dataset(*database_, stage_id);
    delete_results(*database_, stage_id);
    insert_results(*database_, stage_id, dataset, result);
    const auto& artifact = result.artifact;
    BoundStatement(*database_,
                   "UPDATE stages SET state = ?, ended = ?, seconds = seconds + ?, step = ?,"
                   " error = nullif(?, ''), artifact_path = ?, artifact_sha256 = ? WHERE id = ?")
        .run(to_string(state), utc_now(), seconds, result.step, error,
             artifact ? std::optional(artifact->path) : std::nullopt,
             artifact ? std::optional(artifact->sha256) : std::nullopt, stage_id);
  });
  began_.erase(stage_id);
}

}  // namespace oasis
