// oasis export-results: a database as a folder of CSV and JSON files.
#pragma once

namespace CLI {
class App;
}

namespace oasis {

void add_export_results_command(CLI::App& app);

}  // namespace oasis
