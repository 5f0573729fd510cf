#include "suites/commands/query_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <iostream>
#include <memory>
#include <string>

#include "results/find_database.h"
#include "results/query.h"
#include "support/error.h"

namespace oasis {
namespace {

constexpr std::int64_t kRowsOfATable = 1000;  // as many as a person may want on a terminal

struct QueryOptions {
  std::string database;
  std::string format = "table";
  std::string sql;
  std::int64_t limit = -1;  // -1: by format
  double time_limit = 60;   // s
  bool schema = false;
};

void run_query_command(const QueryOptions& options) {
  if (options.schema) {
    std::cout << schema_text() << std::flush;
    return;
  }
  if (options.sql.empty()) {
    throw bad_input(
        "query: no SQL was given; for example: oasis query \"SELECT * FROM table_perplexity\"");
  }
  const auto format = options.format == "csv"    ? QueryFormat::kCsv
                      : options.format == "json" ? QueryFormat::kJson
                                                 : QueryFormat::kTable;
  QueryLimits limits;
  limits.time = std::chrono::milliseconds(std::llround(options.time_limit * 1000));
  if (options.limit > 0) limits.rows = options.limit;
  if (options.limit < 0 && format == QueryFormat::kTable) limits.rows = kRowsOfATable;
  const auto store = Store::open(find_database(options.database), Store::Mode::kReadOnly);
  const auto outcome = run_query(store, options.sql, format, limits, std::cout);
  std::cout << std::flush;
  if (outcome.more) {
    std::cerr << fmt::format("only the first {} rows are shown; --limit N shows more, 0 all\n",
                             outcome.rows);
  }
}

}  // namespace

void add_query_command(CLI::App& app) {
  auto* command =
      app.add_subcommand("query", "Run one SQL statement that reads the results database");
  auto options = std::make_shared<QueryOptions>();
  command->add_option("SQL", options->sql, "The statement; nothing that writes is run");
  command->add_option("--db", options->database, kDatabaseOptionHelp);
  command->add_option("--format", options->format, "table, csv or json")
      ->check(CLI::IsMember({"table", "csv", "json"}))
      ->capture_default_str();
  command
      ->add_option("--limit", options->limit,
                   "Rows at most, 0 for all; by default 1000 for a table, else all")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--time-limit", options->time_limit, "Seconds at most")
      ->check(CLI::Range(0.001, 86400.0))
      ->capture_default_str();
  command->add_flag("--schema", options->schema, "Print the schema with its comments");
  command->callback([options] { run_query_command(*options); });
}

}  // namespace oasis
