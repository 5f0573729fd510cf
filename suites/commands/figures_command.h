// oasis figures, oasis report: what the results database shows, drawn by the scripts of the checkout.
#pragma once

#include <CLI/App.hpp>

namespace oasis {

void add_figures_command(CLI::App& app);
void add_report_command(CLI::App& app);

}  // namespace oasis
