// oasis plan SUITE: cells, tokens, parameters, FLOPs, memory and expected time, without running
#pragma once

namespace CLI {
class App;
}

namespace oasis {

void add_plan_command(CLI::App& app);

}  // namespace oasis
