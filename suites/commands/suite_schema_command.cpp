#include "suites/commands/suite_schema_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "suites/suite.h"

namespace oasis {

void add_suite_schema_command(CLI::App& app) {
  auto markdown = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand("suite-schema", "Print the JSON Schema of suite files");
  command->add_flag("--markdown", *markdown, "Print the reference table of the fields instead");
  command->callback([markdown] {
    fmt::print("{}", *markdown ? suite_reference() : suite_schema().dump(2) + "\n");
  });
}

}  // namespace oasis
