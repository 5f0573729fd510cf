// The Markdown of each table: its parts, one for each model, training set and data set evaluated.
#pragma once

#include <string>
#include <vector>

#include "results/store.h"
#include "results/table_data.h"

namespace oasis {

struct TableScope {
  const Store& store;
  const SuiteInfo& suite;
  std::vector<CellGroup> groups;  // all of the suite
};

std::string perplexity_section(const TableScope& scope);
std::string outliers_section(const TableScope& scope);
std::string outlier_variants_section(const TableScope& scope);
std::string quantization_section(const TableScope& scope);
std::string gsm8k_section(const TableScope& scope);
std::string sinks_section(const TableScope& scope);
std::string depth_section(const TableScope& scope);
std::string training_section(const TableScope& scope);
std::string failures_section(const TableScope& scope);

}  // namespace oasis
