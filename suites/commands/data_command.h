// oasis data list | verify | fetch | tokenize
#pragma once

namespace CLI {
class App;
}

namespace oasis {

// Adds the subcommand. Its callbacks print to stdout, progress to stderr, and throw Error.
void add_data_command(CLI::App& app);

}  // namespace oasis
