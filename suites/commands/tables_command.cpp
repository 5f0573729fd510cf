#include "suites/commands/tables_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <string>

#include "results/find_database.h"
#include "results/tables.h"

namespace oasis {
namespace {

struct TablesOptions {
  std::string database;
  std::string format = "markdown";
  TableRequest request;
  bool list = false;
};

void run_tables(TablesOptions options) {
  if (options.list) {
    for (const auto& table : known_tables()) {
      std::cout << fmt::format("{:<17} {}\n", table.name, table.description);
    }
    return;
  }
  options.request.format = options.format == "csv"     ? TableFormat::kCsv
                           : options.format == "json"  ? TableFormat::kJson
                           : options.format == "latex" ? TableFormat::kLatex
                                                       : TableFormat::kMarkdown;
  const auto store = Store::open(find_database(options.database, options.request.suite),
                                 Store::Mode::kReadOnly);
  std::cout << render_tables(store, options.request) << std::flush;
}

}  // namespace

void add_tables_command(CLI::App& app) {
  auto* command = app.add_subcommand("tables", "Print the tables of a results database");
  auto options = std::make_shared<TablesOptions>();
  command->add_option(
      "NAME", options->request.names,
      "Tables to print; by default all but the long ones that have something to show");
  command->add_flag("--all", options->request.details, "Print the long tables too");
  command->add_option("--db", options->database, kDatabaseOptionHelp);
  command->add_option("--suite", options->request.suite,
                      "Suite to show, or bench for the benchmarks; by default all, the newest version of "
                      "each");
  command->add_option("--format", options->format, "markdown, latex, csv or json")
      ->check(CLI::IsMember({"markdown", "latex", "csv", "json"}))
      ->capture_default_str();
  command->add_flag("--list", options->list, "List the tables");
  command->callback([options] { run_tables(*options); });
}

}  // namespace oasis
