#include "results/merge.h"

#include <SQLiteCpp/Backup.h>
#include <SQLiteCpp/Database.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <system_error>
#include <utility>

#include "results/bound_statement.h"
#include "results/integrity.h"
#include "results/transaction.h"
#include "support/error.h"

namespace oasis {
namespace {

namespace fs = std::filesystem;

// `from` as it is now, brought up to date, in a file beside `into` that is gone afterwards.
class Copy {
 public:
  Copy(const fs::path& from, const fs::path& beside)
      : path_(fmt::format("{}.merge-{}", beside.string(), ::getpid())) {
    remove();
    try {
      {
        const auto source = Store::open(from, Store::Mode::kReadOnly);
        SQLite::Database copy(path_, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
        guarded(path_, copy, [&] { SQLite::Backup(copy, source.database()).executeStep(-1); });
      }
      Store::open(path_,
                  Store::Mode::kCreate);  // of an older schema: migrated; views as they are now
    } catch (...) {
      remove();
      throw;
    }
  }
  ~Copy() { remove(); }
  Copy(const Copy&) = delete;
  Copy& operator=(const Copy&) = delete;

  const fs::path& path() const { return path_; }

 private:
  void remove() {
    std::error_code ignored;
    for (const char* end : {"", "-wal", "-shm", "-journal"}) {
      fs::remove(path_.string() + end, ignored);
    }
  }

  fs::path path_;
};

class Attached {
 public:
  Attached(SQLite::Database& database, const fs::path& path) : database_(database) {
    BoundStatement(database, "ATTACH ? AS source").run(path.string());
  }
  ~Attached() { database_.tryExec("DETACH source"); }
  Attached(const Attached&) = delete;
  Attached& operator=(const Attached&) = delete;

 private:
  SQLite::Database& database_;
};

class Merge {
 public:
  Merge(SQLite::Database& database, fs::path into_folder, fs::path from_folder)
      : database_(database),
        into_folder_(std::move(into_folder)),
        from_folder_(std::move(from_folder)) {}

  void match_cells();
  void match_stages();
  void find_conflicts();
  void copy_stages();
  void add_figures();
  void copy_what_happened();

  MergeResult result;

 private:
  std::int64_t changes(const std::string& sql) { return database_.exec(sql); }
  // The columns of a table but some, "a, b, c"; each after `prefix`.
  std::string columns(const std::string& table, const std::vector<std::string>& without,
                      const std::string& prefix = "");
  std::vector<std::string> tables_of_stages();
  void insert_stage_rows(const std::string& table);
  void rebase_artifacts();

  SQLite::Database& database_;
  fs::path into_folder_, from_folder_;
};

std::string Merge::columns(const std::string& table, const std::vector<std::string>& without,
                           const std::string& prefix) {
  std::string names;
  BoundStatement query(database_, "SELECT name FROM pragma_table_info(?, 'main')");
  query.bind_all(table);
  while (query.step()) {
    if (std::ranges::find(without, query.text(0)) != without.end()) continue;
    names += (names.empty() ? "" : ", ") + prefix + query.text(0);
  }
  return names;
}

void Merge::match_cells() {
  database_.exec(
      "CREATE TEMP TABLE run_of (source INTEGER PRIMARY KEY, id INTEGER NOT NULL);"
      "CREATE TEMP TABLE suite_of (source INTEGER PRIMARY KEY, id INTEGER NOT NULL);"
      "CREATE TEMP TABLE cell_of (source INTEGER PRIMARY KEY, id INTEGER NOT NULL);"
      "CREATE TEMP TABLE stage_of (source INTEGER PRIMARY KEY, id INTEGER NOT NULL UNIQUE);"
      "CREATE TEMP TABLE taken (source INTEGER PRIMARY KEY, id INTEGER NOT NULL UNIQUE)");
  const auto run = columns("runs", {"id"});
  result.runs =
      changes(fmt::format("INSERT INTO runs ({0}) SELECT {0} FROM source.runs"
                          " WHERE uid NOT IN (SELECT uid FROM main.runs) ORDER BY id",
                          run));
  database_.exec(
      "UPDATE runs SET ended = (SELECT s.ended FROM source.runs s WHERE s.uid = runs.uid)"
      " WHERE ended IS NULL AND uid IN (SELECT uid FROM source.runs WHERE ended IS NOT NULL);"
      "INSERT INTO run_of SELECT s.id, r.id FROM source.runs s JOIN main.runs r ON r.uid = s.uid");
  result.suites = changes(
      fmt::format("INSERT INTO suites ({0}) SELECT {0} FROM source.suites"
                  " WHERE (name, hash) NOT IN (SELECT name, hash FROM main.suites) ORDER BY id",
                  columns("suites", {"id"})));
  database_.exec(
      "INSERT INTO suite_of SELECT s.id, m.id"
      " FROM source.suites s JOIN main.suites m ON m.name = s.name AND m.hash = s.hash;"
      "UPDATE suites SET used = s.used FROM suite_of o JOIN source.suites s ON s.id = o.source"
      " WHERE suites.id = o.id AND s.used > suites.used");
  const auto cell = columns("cells", {"id", "suite_id"});
  result.cells = changes(
      fmt::format("INSERT OR IGNORE INTO cells (suite_id, {0}) SELECT o.id, {1} FROM source.cells c"
                  " JOIN suite_of o ON o.source = c.suite_id ORDER BY c.id",
                  cell, columns("cells", {"id", "suite_id"}, "c.")));
  database_.exec(
      "INSERT INTO cell_of SELECT c.id, m.id FROM source.cells c"
      " JOIN suite_of o ON o.source = c.suite_id"
      " JOIN main.cells m ON m.suite_id = o.id AND m.label = c.label AND m.dataset = c.dataset"
      " AND m.model = c.model AND m.seed = c.seed");
}

// What a stage's state is worth beside another's.
constexpr const char* kRank =
    "CASE {}.state WHEN 'done' THEN 4 WHEN 'failed' THEN 3 WHEN 'stopped' THEN 2"
    " WHEN 'running' THEN 1 ELSE 0 END";

void Merge::match_stages() {
  database_.exec(
      fmt::format("INSERT INTO taken SELECT s.id, m.id"
                  " FROM source.stages s JOIN main.stages m ON m.key = s.key WHERE {} > {}"
                  " AND m.state <> 'running'",
                  fmt::format(fmt::runtime(kRank), "s"), fmt::format(fmt::runtime(kRank), "m")));
}

void Merge::find_conflicts() {
  BoundStatement cells(
      database_,
      "SELECT m.label || '/' || m.dataset || '/' || m.model || '/' || m.seed, m.config, s.config"
      " FROM cell_of o JOIN source.cells s ON s.id = o.source JOIN main.cells m ON m.id = o.id"
      " WHERE m.config <> s.config OR m.method <> s.method ORDER BY m.id");
  while (cells.step()) {
    result.conflicts.push_back({cells.text(0), "configuration", cells.text(1), cells.text(2)});
  }
  // The view `comparable` says what two runs of one stage must agree on.
  database_.exec(
      "CREATE TEMP TABLE shared (key TEXT PRIMARY KEY) WITHOUT ROWID;"
      "INSERT INTO shared SELECT m.key FROM main.stages m JOIN source.stages s ON s.key = m.key"
      " WHERE m.state = 'done' AND s.state = 'done'");
  if (database_.execAndGet("SELECT count(*) FROM shared").getInt64() == 0) return;
  BoundStatement rows(
      database_,
      "WITH ours AS (SELECT kind, subject, contents FROM main.comparable"
      "  WHERE kind NOT IN ('suite', 'cell', 'cell stage', 'stage', 'claim')"
      "  AND substr(subject, 1, instr(subject, '|') - 1) IN (SELECT key FROM shared)),"
      " theirs AS (SELECT kind, subject, contents FROM source.comparable"
      "  WHERE kind NOT IN ('suite', 'cell', 'cell stage', 'stage', 'claim')"
      "  AND substr(subject, 1, instr(subject, '|') - 1) IN (SELECT key FROM shared))"
      " SELECT (SELECT ifnull((SELECT c.label || '/' || c.dataset || '/' || c.model || '/' || "
      "c.seed"
      "     FROM main.cell_stages x JOIN main.cells c ON c.id = x.cell_id WHERE x.stage_id = t.id"
      "     ORDER BY c.id LIMIT 1) || ' ', '') || trim(t.kind || ' ' || t.evaluated_on) ||"
      "     ifnull(' W' || t.weight_bits || 'A' || t.activation_bits || ' ' || t.points, '')"
      "   FROM main.stages t WHERE t.key = substr(ours.subject, 1, instr(ours.subject, '|') - 1)),"
      "  kind || ' ' || substr(subject, instr(subject, '|') + 1), ours.contents, theirs.contents"
      " FROM ours JOIN theirs USING (kind, subject) WHERE ours.contents <> theirs.contents"
      " ORDER BY 1, 2");
  while (rows.step()) {
    result.conflicts.push_back({rows.text(0), rows.text(1), rows.text(2), rows.text(3)});
  }
}

// Every table whose rows belong to a stage and are copied with it.
std::vector<std::string> Merge::tables_of_stages() {
  std::vector<std::string> tables;
  BoundStatement query(database_,
                       "SELECT m.name FROM main.sqlite_schema m"
                       " JOIN pragma_table_info(m.name, 'main') c"
                       " WHERE m.type = 'table' AND c.name = 'stage_id'"
                       " AND m.name NOT IN ('cell_stages', 'events') ORDER BY m.name");
  while (query.step()) tables.push_back(query.text(0));
  return tables;
}

void Merge::insert_stage_rows(const std::string& table) {
  const std::vector<std::string> own = {"id", "stage_id"};
  changes(
      fmt::format("INSERT INTO {0} (stage_id, {1}) SELECT t.id, {2}"
                  " FROM source.{0} s JOIN taken t ON t.source = s.stage_id",
                  table, columns(table, own), columns(table, own, "s.")));
}

void Merge::copy_stages() {
  const std::vector<std::string> own = {"id", "run_id", "state"};
  const auto state = "CASE s.state WHEN 'running' THEN 'stopped' ELSE s.state END";
  const auto names = columns("stages", own);
  const auto values = columns("stages", own, "s.");
  const auto tables = tables_of_stages();

  // Unfinished here and further there: the stage is taken as it is there.
  result.finished = database_.execAndGet("SELECT count(*) FROM taken").getInt64();
  for (const auto& table : tables) {
    changes(fmt::format("DELETE FROM {} WHERE stage_id IN (SELECT id FROM taken)", table));
  }
  changes(
      fmt::format("UPDATE stages SET ({0}, run_id, state) ="
                  " (SELECT {1}, r.id, {2} FROM source.stages s"
                  "  LEFT JOIN run_of r ON r.source = s.run_id WHERE s.key = stages.key)"
                  " WHERE id IN (SELECT id FROM taken)",
                  names, values, state));

  result.stages = changes(fmt::format(
      "INSERT INTO stages ({0}, run_id, state) SELECT {1}, r.id, {2} FROM source.stages s"
      " LEFT JOIN run_of r ON r.source = s.run_id"
      " WHERE s.key NOT IN (SELECT key FROM main.stages) ORDER BY s.id",
      names, values, state));
  database_.exec(
      "INSERT INTO stage_of SELECT s.id, m.id"
      " FROM source.stages s JOIN main.stages m ON m.key = s.key");
  changes(
      "INSERT OR IGNORE INTO cell_stages (cell_id, stage_id) SELECT c.id, t.id"
      " FROM source.cell_stages x JOIN cell_of c ON c.source = x.cell_id"
      " JOIN stage_of t ON t.source = x.stage_id");
  // Those that are new have the ids after the largest that there was.
  changes(fmt::format("INSERT INTO taken SELECT source, id FROM stage_of ORDER BY id DESC LIMIT {}",
                      result.stages));
  rebase_artifacts();
  for (const auto& table : tables) insert_stage_rows(table);
  changes(
      "INSERT INTO generation_scores (generation_id, rule, extracted, correct)"
      " SELECT g.id, c.rule, c.extracted, c.correct FROM source.generation_scores c"
      " JOIN source.generations o ON o.id = c.generation_id JOIN taken t ON t.source = o.stage_id"
      " JOIN main.generations g ON g.stage_id = t.id AND g.problem = o.problem");
}

void Merge::rebase_artifacts() {
  BoundStatement rows(database_,
                      "SELECT id, artifact_path FROM stages"
                      " WHERE id IN (SELECT id FROM taken) AND artifact_path <> ''");
  BoundStatement update(database_, "UPDATE stages SET artifact_path = ? WHERE id = ?");
  while (rows.step()) {
    const fs::path there = (from_folder_ / rows.text(1)).lexically_normal();
    const auto relative = there.lexically_relative(into_folder_);
    update.run((relative.empty() ? there : relative).generic_string(), rows.integer(0));
  }
}

void Merge::add_figures() {
  result.figures = changes(fmt::format(
      "INSERT OR IGNORE INTO metrics (stage_id, {0}) SELECT o.id, {1} FROM source.metrics s"
      " JOIN stage_of o ON o.source = s.stage_id JOIN main.stages m ON m.id = o.id"
      " WHERE m.key IN (SELECT key FROM shared)",
      columns("metrics", {"stage_id"}), columns("metrics", {"stage_id"}, "s.")));
  result.figures += changes(
      "INSERT OR IGNORE INTO generation_scores (generation_id, rule, extracted, correct)"
      " SELECT g.id, c.rule, c.extracted, c.correct FROM source.generation_scores c"
      " JOIN source.generations s ON s.id = c.generation_id"
      " JOIN stage_of o ON o.source = s.stage_id"
      " JOIN main.generations g ON g.stage_id = o.id AND g.problem = s.problem AND g.text = s.text"
      " JOIN main.stages m ON m.id = o.id WHERE m.key IN (SELECT key FROM shared)");
}

void Merge::copy_what_happened() {
  result.events = changes(
      "INSERT INTO events (stage_id, run_id, step, kind, message, at)"
      " SELECT o.id, r.id, e.step, e.kind, e.message, e.at FROM source.events e"
      " JOIN stage_of o ON o.source = e.stage_id LEFT JOIN run_of r ON r.source = e.run_id"
      " WHERE NOT EXISTS (SELECT 1 FROM main.events m WHERE m.stage_id = o.id"
      "  AND m.run_id IS r.id AND m.step IS e.step AND m.kind = e.kind"
      "  AND m.message = e.message AND m.at = e.at) ORDER BY e.id");
  result.benchmarks = changes(fmt::format(
      "INSERT OR IGNORE INTO benchmarks (run_id, {0}) SELECT r.id, {1}"
      " FROM source.benchmarks b JOIN run_of r ON r.source = b.run_id ORDER BY b.id",
      columns("benchmarks", {"id", "run_id"}), columns("benchmarks", {"id", "run_id"}, "b.")));
}

fs::path folder_of(const fs::path& file) {
  return fs::weakly_canonical(fs::absolute(file)).parent_path();
}

}  // namespace

MergeResult merge_database(Store& into, const fs::path& from, bool keep) {
  std::error_code ignored;
  if (fs::equivalent(into.path(), from, ignored)) {
    throw bad_input("{}: is the database that is merged into; name another one", from.string());
  }
  const Copy copy(from, into.path());
  if (const auto problems = integrity_problems(from); !problems.empty()) {
    throw bad_input(
        "{}: is damaged ({}), nothing was merged from it; restore a copy of it, or save what is "
        "left: sqlite3 {} .recover | sqlite3 recovered.db",
        from.string(), problems[0], from.string());
  }
  auto& database = into.database();
  return guarded(into.path(), database, [&] {
    const Attached attached(database, copy.path());
    SQLite::Transaction transaction(database, SQLite::TransactionBehavior::IMMEDIATE);
    Merge merge(database, folder_of(into.path()), folder_of(from));
    merge.match_cells();
    merge.match_stages();
    merge.find_conflicts();
    if (!merge.result.conflicts.empty() && !keep) {
      merge.result = {.conflicts = std::move(merge.result.conflicts)};
      return std::move(merge.result);  // the transaction is rolled back, temporary tables with it
    }
    merge.copy_stages();
    merge.add_figures();
    merge.copy_what_happened();
    database.exec(
        "DROP TABLE temp.run_of; DROP TABLE temp.suite_of; DROP TABLE temp.cell_of;"
        "DROP TABLE temp.stage_of; DROP TABLE temp.taken; DROP TABLE temp.shared");
    transaction.commit();
    merge.result.written = true;
    return std::move(merge.result);
  });
}

}  // namespace oasis
