#include "suites/commands/query_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "results/find_database.h"
#include "results/queries/named_queries.h"
#include "results/query.h"
#include "results/schema_reference.h"
#include "support/error.h"

namespace oasis {
namespace {

constexpr std::int64_t kRowsOfATable = 1000;  // as many as a person may want on a terminal

const std::map<std::string, QueryFormat> kFormats = {{"table", QueryFormat::kTable},
                                                     {"csv", QueryFormat::kCsv},
                                                     {"json", QueryFormat::kJson},
                                                     {"markdown", QueryFormat::kMarkdown}};

struct QueryOptions {
  std::string database;
  std::string format = "table";
  std::string sql;
  std::vector<std::string> parameters;  // NAME=VALUE
  std::int64_t limit = -1;              // -1: by format
  double time_limit = 60;               // s
  bool schema = false;
  bool list = false;
};

void list_named_queries() {
  for (const auto& query : named_queries()) {
    fmt::print("{}\n    {}\n", query.name, query.title);
    for (const auto& parameter : query.parameters) {
      fmt::print("    --set {}={}: {}\n", parameter.name, parameter.default_value,
                 parameter.description);
    }
  }
  std::fflush(stdout);
}

QueryParameters parse_parameters(const std::vector<std::string>& given) {
  QueryParameters parameters;
  for (const auto& text : given) {
    const auto equals = text.find('=');
    if (equals == std::string::npos || equals == 0) {
      throw bad_input("query: --set {}: must be NAME=VALUE", text);
    }
    parameters[text.substr(0, equals)] = text.substr(equals + 1);
  }
  return parameters;
}

// No statement is a single word, and no name of a query is anything else.
bool is_a_name(const std::string& sql) {
  return sql.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-_") == std::string::npos;
}

void run_query_command(const QueryOptions& options) {
  const auto format = kFormats.at(options.format);
  if (options.schema) {
    std::cout << (format == QueryFormat::kMarkdown ? schema_reference() : schema_text())
              << std::flush;
    return;
  }
  if (options.list) return list_named_queries();
  if (options.sql.empty()) {
    throw bad_input(
        "query: no SQL was given; for example: oasis query \"SELECT * FROM table_perplexity\", or "
        "the name of one of oasis query --list");
  }
  QueryLimits limits;
  limits.time = std::chrono::milliseconds(std::llround(options.time_limit * 1000));
  if (options.limit > 0) limits.rows = options.limit;
  if (options.limit < 0 && format == QueryFormat::kTable) limits.rows = kRowsOfATable;
  auto parameters = parse_parameters(options.parameters);
  std::string sql = options.sql;
  if (is_a_name(sql)) {
    const auto& named = find_named_query(sql);
    parameters = complete_parameters(named, parameters);
    sql = named.sql;
  }
  const auto store = Store::open(find_database(options.database), Store::Mode::kReadOnly);
  const auto outcome = run_query(store, sql, format, limits, std::cout, parameters);
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
  command->add_option("SQL", options->sql,
                      "The statement, or the name of one of --list; nothing that writes is run");
  command->add_option("--db", options->database, kDatabaseOptionHelp);
  command
      ->add_option("--set", options->parameters,
                   "NAME=VALUE: the value of the parameter :NAME, bound as it is; repeat for "
                   "more")
      ->allow_extra_args(false);
  command->add_option("--format", options->format, "table, csv, json or markdown")
      ->check(CLI::IsMember({"table", "csv", "json", "markdown"}))
      ->capture_default_str();
  command
      ->add_option("--limit", options->limit,
                   "Rows at most, 0 for all; by default 1000 for a table, else all")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--time-limit", options->time_limit, "Seconds at most")
      ->check(CLI::Range(0.001, 86400.0))
      ->capture_default_str();
  command->add_flag("--schema", options->schema,
                    "Print the schema with its comments, as SQL or (--format markdown) as a page");
  command->add_flag("--list", options->list, "Print the named queries, with their parameters");
  command->callback([options] { run_query_command(*options); });
}

}  // namespace oasis
