// oasis bench: times operations and training steps, each checked first.
#pragma once

namespace CLI {
class App;
}

namespace oasis {

void add_bench_command(CLI::App& app);

}  // namespace oasis
