// oasis merge: results of several machines in one database.
#pragma once

namespace CLI {
class App;
}

namespace oasis {

void add_merge_command(CLI::App& app);

}  // namespace oasis
