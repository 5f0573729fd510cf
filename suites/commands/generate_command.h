// `oasis generate`: texts that a checkpoint writes after prompts.
#pragma once

namespace CLI {
class App;
}

namespace oasis {

void add_generate_command(CLI::App& app);

}  // namespace oasis
