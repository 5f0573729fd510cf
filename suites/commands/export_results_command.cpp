#include "suites/commands/export_results_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "results/export_results.h"
#include "results/find_database.h"

namespace oasis {

void add_export_results_command(CLI::App& app) {
  struct Options {
    std::string database, folder;
  };
  const auto options = std::make_shared<Options>();
  auto* command = app.add_subcommand(
      "export-results",
      "Write a results database as a folder for a paper's artifact: every table and view as CSV,\n"
      "suites and runs as JSON, what the columns mean, and checksums");
  command->add_option("FOLDER", options->folder, "Folder to make; must not be there")->required();
  command->add_option("--db", options->database, kDatabaseOptionHelp);
  command->callback([options] {
    const auto store = Store::open(find_database(options->database), Store::Mode::kReadOnly);
    const auto written = export_results(store, options->folder);
    fmt::print("{}: {} files, {} rows\n", options->folder, written.files, written.rows);
  });
}

}  // namespace oasis
