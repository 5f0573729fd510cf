// oasis compare: benchmarks beside those of an earlier run.
#pragma once

namespace CLI {
class App;
}

namespace oasis {

void add_compare_command(CLI::App& app);

}  // namespace oasis
