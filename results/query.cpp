#include "results/query.h"

#include <SQLiteCpp/Database.h>
#include <fmt/format.h>
#include <sqlite3.h>

#include <algorithm>
#include <array>
#include <memory>
#include <ostream>
#include <set>
#include <vector>

#include "results/bound_statement.h"
#include "results/query_writer.h"
#include "results/schema.h"
#include "results/sqlite_error.h"
#include "results/table_text.h"
#include "support/error.h"
#include "support/text.h"

namespace oasis {
namespace {

constexpr int kLongestSql = 1'000'000;            // bytes
constexpr int kLongestValue = 64 << 20;           // bytes of one text or blob
constexpr sqlite3_int64 kMostMemory = 2LL << 30;  // bytes that SQLite may hold for a query
constexpr int kStepsBetweenLooks = 1000;          // virtual-machine steps from clock to clock

// PRAGMAs that only tell. Those marked take the name of a table or index as their argument; for all
// others an argument would be a new value.
constexpr std::array kTellingPragmas = {
    "table_list",     "database_list", "compile_options", "user_version", "application_id",
    "schema_version", "journal_mode",  "page_size",       "page_count",   "encoding",
    "freelist_count", "function_list", "collation_list"};
constexpr std::array kTellingPragmasOfName = {
    "table_info",       "table_xinfo",     "index_list",  "index_info",       "index_xinfo",
    "foreign_key_list", "integrity_check", "quick_check", "foreign_key_check"};

// Their forms as tables, and the tables of JSON. SQLite sets each up at its first use, by an action
// that the authorizer has to refuse, and keeps it: so they are set up before.
constexpr std::array kPragmaTables = {"SELECT * FROM pragma_table_info('')",
                                      "SELECT * FROM pragma_table_xinfo('')",
                                      "SELECT * FROM pragma_table_list",
                                      "SELECT * FROM pragma_index_list('')",
                                      "SELECT * FROM pragma_index_info('')",
                                      "SELECT * FROM pragma_index_xinfo('')",
                                      "SELECT * FROM pragma_foreign_key_list('')",
                                      "SELECT * FROM json_each('{}')",
                                      "SELECT * FROM json_tree('{}')"};

std::string_view action_name(int action) {
  switch (action) {
    case SQLITE_INSERT:
      return "INSERT";
    case SQLITE_UPDATE:
      return "UPDATE";
    case SQLITE_DELETE:
      return "DELETE";
    case SQLITE_ATTACH:
      return "ATTACH";
    case SQLITE_DETACH:
      return "DETACH";
    case SQLITE_PRAGMA:
      return "PRAGMA";
    case SQLITE_TRANSACTION:
    case SQLITE_SAVEPOINT:
      return "a transaction";
    case SQLITE_FUNCTION:
      return "a function";
    default:
      return "a change of the schema";
  }
}

// What the authorizer refused first.
struct Refusal {
  bool happened = false;
  std::string what;
};

bool is_one_of(const auto& names, const char* name) {
  return std::any_of(names.begin(), names.end(),
                     [&](const char* each) { return ::sqlite3_stricmp(each, name) == 0; });
}

int authorize(void* context, int action, const char* first, const char* second, const char*,
              const char*) {
  bool allowed = false;
  std::string detail;
  switch (action) {
    case SQLITE_SELECT:
    case SQLITE_READ:
    case SQLITE_RECURSIVE:
      allowed = true;
      break;
    case SQLITE_FUNCTION:
      allowed = second == nullptr || (::sqlite3_stricmp(second, "load_extension") != 0 &&
                                      ::sqlite3_stricmp(second, "fts3_tokenizer") != 0);
      detail = second == nullptr ? "" : second;
      break;
    case SQLITE_PRAGMA:
      allowed = first != nullptr && ((second == nullptr && is_one_of(kTellingPragmas, first)) ||
                                     is_one_of(kTellingPragmasOfName, first));
      detail = first == nullptr ? "" : first;
      break;
    default:
      break;
  }
  if (allowed) return SQLITE_OK;
  auto& refusal = *static_cast<Refusal*>(context);
  if (!refusal.happened) {
    refusal = {true, std::string(action_name(action)) + (detail.empty() ? "" : " " + detail)};
  }
  return SQLITE_DENY;
}

int is_late(void* deadline) {
  return std::chrono::steady_clock::now() >
                 *static_cast<std::chrono::steady_clock::time_point*>(deadline)
             ? 1
             : 0;
}

// The handle's fences while a query runs; lowered again so that nothing refers to this frame.
class Fences {
 public:
  Fences(sqlite3* handle, Refusal& refusal, std::chrono::steady_clock::time_point& deadline)
      : handle_(handle), memory_before_(::sqlite3_hard_heap_limit64(-1)) {
    ::sqlite3_db_config(handle, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
    ::sqlite3_db_config(handle, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, nullptr);
    ::sqlite3_limit(handle, SQLITE_LIMIT_ATTACHED, 0);
    ::sqlite3_limit(handle, SQLITE_LIMIT_SQL_LENGTH, kLongestSql);
    ::sqlite3_limit(handle, SQLITE_LIMIT_LENGTH, kLongestValue);
    ::sqlite3_hard_heap_limit64(kMostMemory);
    ::sqlite3_progress_handler(handle, kStepsBetweenLooks, is_late, &deadline);
    ::sqlite3_set_authorizer(handle, authorize, &refusal);
  }
  ~Fences() {
    ::sqlite3_set_authorizer(handle_, nullptr, nullptr);
    ::sqlite3_progress_handler(handle_, 0, nullptr, nullptr);
    ::sqlite3_hard_heap_limit64(memory_before_);
  }
  Fences(const Fences&) = delete;
  Fences& operator=(const Fences&) = delete;

 private:
  sqlite3* handle_;
  sqlite3_int64 memory_before_;
};

struct Finalize {
  void operator()(sqlite3_stmt* statement) const { ::sqlite3_finalize(statement); }
};
using StatementHandle = std::unique_ptr<sqlite3_stmt, Finalize>;

std::vector<std::string> relation_names(const Store& store) {
  BoundStatement query(store.database(),
                       "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')");
  std::vector<std::string> names;
  while (query.step()) names.push_back(query.text(0));
  return names;
}

// What is wrong with the statement, in words for its author.
class Faults {
 public:
  Faults(const Store& store, const Refusal& refusal, const QueryLimits& limits)
      : store_(store), names_(relation_names(store)), refusal_(refusal), limits_(limits) {}

  [[noreturn]] void raise(int code) const {
    sqlite3* handle = store_.database().getHandle();
    if (refusal_.happened) {
      throw bad_input("query: {} is refused: `oasis query` only reads; nothing was changed",
                      refusal_.what);
    }
    if (code == SQLITE_INTERRUPT) {
      throw bad_input(
          "query: ran longer than {} s and was ended; narrow it, or allow more with --time-limit",
          static_cast<double>(limits_.time.count()) / 1000);
    }
    if (code == SQLITE_NOMEM || code == SQLITE_TOOBIG) {
      throw bad_input("query: needs more memory than a query may use; narrow it");
    }
    const std::string message = ::sqlite3_errmsg(handle);
    constexpr std::string_view kNoTable = "no such table: ";
    if (message.starts_with(kNoTable)) {
      throw bad_input("query: {}{}; `oasis query --schema` lists all", message,
                      suggestion(message.substr(kNoTable.size()), names_));
    }
    if (code == SQLITE_ERROR) {
      throw bad_input("query: {}; `oasis query --schema` lists tables and columns", message);
    }
    rethrow_sqlite(store_.path(), SQLite::Exception(handle, code),
                   sqlite_system_errno(store_.database()));
  }

 private:
  const Store& store_;
  std::vector<std::string> names_;
  const Refusal& refusal_;
  const QueryLimits& limits_;
};

bool only_blanks_and_comments(sqlite3* handle, const char* tail) {
  if (*tail == '\0') return true;
  sqlite3_stmt* next = nullptr;
  const int code = ::sqlite3_prepare_v2(handle, tail, -1, &next, nullptr);
  const StatementHandle owner(next);
  return code == SQLITE_OK && next == nullptr;
}

QueryCell cell_of(sqlite3_stmt* statement, int column) {
  switch (::sqlite3_column_type(statement, column)) {
    case SQLITE_INTEGER:
      return std::int64_t{::sqlite3_column_int64(statement, column)};
    case SQLITE_FLOAT:
      return ::sqlite3_column_double(statement, column);
    case SQLITE_NULL:
      return std::monostate{};
    case SQLITE_BLOB: {
      const auto* bytes =
          static_cast<const unsigned char*>(::sqlite3_column_blob(statement, column));
      std::string hex;
      for (int i = 0; i < ::sqlite3_column_bytes(statement, column); ++i) {
        hex += fmt::format("{:02x}", bytes[i]);
      }
      return hex;
    }
    default: {
      const auto* text = reinterpret_cast<const char*>(::sqlite3_column_text(statement, column));
      if (text == nullptr) throw std::bad_alloc();
      return std::string(text, static_cast<std::size_t>(::sqlite3_column_bytes(statement, column)));
    }
  }
}

void bind_parameters(sqlite3_stmt* statement, const QueryParameters& parameters) {
  std::set<std::string> used;
  for (int i = 1; i <= ::sqlite3_bind_parameter_count(statement); ++i) {
    const char* name = ::sqlite3_bind_parameter_name(statement, i);
    const auto found = name == nullptr ? parameters.end() : parameters.find(name + 1);
    if (found == parameters.end()) {
      throw bad_input(
          "query: has the parameter {} without a value; give it with --set NAME=VALUE, where the "
          "statement names it :NAME",
          name == nullptr ? "?" : name);
    }
    used.insert(found->first);
    if (const auto* integer = std::get_if<std::int64_t>(&found->second)) {
      ::sqlite3_bind_int64(statement, i, *integer);
    } else {
      const auto& text = std::get<std::string>(found->second);
      ::sqlite3_bind_text64(statement, i, text.data(), text.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
    }
  }
  for (const auto& [name, value] : parameters) {
    if (!used.contains(name)) {
      throw bad_input("query: has no parameter :{}; leave --set {}=… out", printable(name),
                      printable(name));
    }
  }
}

}  // namespace

QueryOutcome run_query(const Store& store, std::string_view sql, QueryFormat format,
                       const QueryLimits& limits, std::ostream& output,
                       const QueryParameters& parameters) {
  sqlite3* handle = store.database().getHandle();
  // A copy in memory of an older file may be written, but nobody would see it.
  const bool in_memory = std::string_view(::sqlite3_db_filename(handle, "main")).empty();
  if (!in_memory && ::sqlite3_db_readonly(handle, "main") != 1) {
    throw failed("{}: was opened for writing; queries need a read-only store",
                 store.path().string());
  }
  if (sql.find('\0') != std::string_view::npos) {
    throw bad_input("query: holds a zero byte; remove it");
  }
  guarded(store.path(), store.database(), [&] {
    store.database().exec("PRAGMA query_only = ON");
    store.database().exec("PRAGMA temp_store = MEMORY");
    for (const char* table : kPragmaTables) BoundStatement(store.database(), table);
  });
  Refusal refusal;
  const Faults faults(store, refusal, limits);
  auto deadline = std::chrono::steady_clock::now() + limits.time;
  const Fences fences(handle, refusal, deadline);

  const std::string text(sql);
  sqlite3_stmt* prepared = nullptr;
  const char* tail = nullptr;
  const int code = ::sqlite3_prepare_v2(handle, text.c_str(), -1, &prepared, &tail);
  const StatementHandle statement(prepared);
  if (code != SQLITE_OK) faults.raise(code);
  if (statement == nullptr) {
    throw bad_input("query: is empty; for example: oasis query \"SELECT * FROM table_perplexity\"");
  }
  if (!only_blanks_and_comments(handle, tail)) {
    throw bad_input("query: one statement at a time; nothing was run");
  }
  if (::sqlite3_stmt_readonly(prepared) == 0 || ::sqlite3_column_count(prepared) == 0) {
    throw bad_input("query: is refused: `oasis query` only reads; nothing was changed");
  }
  bind_parameters(prepared, parameters);

  std::vector<std::string> columns;
  for (int i = 0; i < ::sqlite3_column_count(prepared); ++i) {
    columns.emplace_back(::sqlite3_column_name(prepared, i));
  }
  const auto writer = make_query_writer(format, columns, output);
  QueryOutcome outcome;
  std::vector<QueryCell> row(columns.size());
  for (;;) {
    const int status = ::sqlite3_step(prepared);
    if (status == SQLITE_DONE) break;
    if (status != SQLITE_ROW) faults.raise(status);
    if (limits.rows && outcome.rows == *limits.rows) {
      outcome.more = true;
      break;
    }
    for (std::size_t i = 0; i < row.size(); ++i) row[i] = cell_of(prepared, static_cast<int>(i));
    writer->row(row);
    ++outcome.rows;
  }
  writer->finish();
  return outcome;
}

std::string schema_text() {
  SQLite::Database memory(":memory:", SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
  migrate_schema(memory, ":memory:", std::chrono::milliseconds(0));
  BoundStatement query(memory,
                       "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL"
                       " ORDER BY type = 'view', type = 'index', rowid");
  std::string text = fmt::format("-- Schema version {} of the results database.\n",
                                 schema_migrations().back().version);
  while (query.step()) text += fmt::format("\n{};\n", query.text(0));
  return text;
}

}  // namespace oasis
