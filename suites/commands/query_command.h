// oasis query: one SQL statement on a results database that can only read.
#pragma once

#include <CLI/App.hpp>

namespace oasis {

void add_query_command(CLI::App& app);

}  // namespace oasis
