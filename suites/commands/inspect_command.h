// oasis inspect CHECKPOINT --tokens FILE --out FILE: one recorded forward pass, as safetensors
#pragma once

namespace CLI {
class App;
}

namespace oasis {

void add_inspect_command(CLI::App& app);

}  // namespace oasis
