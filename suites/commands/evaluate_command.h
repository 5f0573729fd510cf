// oasis evaluate CHECKPOINT --tokens FILE|--dataset NAME: every metric of DESIGN.md section 5
#pragma once

namespace CLI {
class App;
}

namespace oasis {

void add_evaluate_command(CLI::App& app);

}  // namespace oasis
