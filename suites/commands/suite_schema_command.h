// oasis suite-schema: the JSON Schema of suite files
#pragma once

namespace CLI {
class App;
}

namespace oasis {

void add_suite_schema_command(CLI::App& app);

}  // namespace oasis
