// oasis doctor: what was found, what is missing, and the command that installs it
#pragma once

namespace CLI {
class App;
}

namespace oasis {

void add_doctor_command(CLI::App& app);

}  // namespace oasis
