// oasis status [RUN]: what of a run is done, running, failed or to do
#pragma once

namespace CLI {
class App;
}

namespace oasis {

void add_status_command(CLI::App& app);

}  // namespace oasis
