// The tables of speed and of single sites, from the views table_speed, table_massive_activations
// and table_site_costs.
#pragma once

#include <string>

#include "results/table_sections.h"

namespace oasis {

std::string speed_section(const TableScope& scope);
std::string massive_activations_section(const TableScope& scope);  // the largest three of each cell
std::string site_costs_section(const TableScope& scope);           // the costliest five of each

}  // namespace oasis
