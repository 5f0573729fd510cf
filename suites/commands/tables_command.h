// oasis tables: the tables of a results database as Markdown or CSV.
#pragma once

#include <CLI/App.hpp>

namespace oasis {

void add_tables_command(CLI::App& app);

}  // namespace oasis
