// oasis reproduce SUITE: runs what is missing of a suite, then prints its tables
#pragma once

namespace CLI {
class App;
}

namespace oasis {

void add_reproduce_command(CLI::App& app);

}  // namespace oasis
