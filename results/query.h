// One SQL statement that can only read.
//
// Four fences, each enough alone against writing: the handle is read-only (Store::Mode::kReadOnly),
// PRAGMA query_only, an authorizer that refuses all but reading (no ATTACH, no PRAGMA that sets, no
// transaction, no load_extension), and sqlite3_stmt_readonly. Time, rows and memory are bounded.
#pragma once

#include <chrono>
#include <cstdint>
#include <iosfwd>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "results/store.h"

namespace oasis {

enum class QueryFormat { kTable, kCsv, kJson, kMarkdown };

// By name, without the colon. Text is compared by the affinity of the column it meets.
using QueryParameters = std::map<std::string, std::variant<std::string, std::int64_t>>;

struct QueryLimits {
  std::chrono::milliseconds time{60'000};
  std::optional<std::int64_t> rows;  // empty: all
};

struct QueryOutcome {
  std::int64_t rows = 0;
  bool more = false;  // the statement had more rows than the limit
};

// Writes the rows to `output`: an aligned table (long texts cut), CSV (RFC 4180, NULL is empty), a
// JSON array of objects, or a GitHub table. Parameters of the statement (:name, @name or $name)
// are bound, each must have a value. The store must have been opened with kReadOnly; it is good for
// queries only afterwards. Throws Error (bad input) for SQL that is wrong, writes, or takes too
// long.
QueryOutcome run_query(const Store& store, std::string_view sql, QueryFormat format,
                       const QueryLimits& limits, std::ostream& output,
                       const QueryParameters& parameters = {});

// The statements that make the schema of this build, with their comments: tables, indexes, views.
std::string schema_text();

}  // namespace oasis
