// oasis gsm8k: prompts, scores of generated texts, and scores anew.
#pragma once

namespace CLI {
class App;
}

namespace oasis {

void add_gsm8k_command(CLI::App& app);

}  // namespace oasis
