// The tables that need more than SQL: the paper's claims with their verdicts, comparisons with
// `attnres`, ablations of `oasis`, and answers that changed. Their figures come from the views
// claim_effects, paired_effects and gsm8k_pairs.
#pragma once

#include <string>
#include <vector>

#include "results/query_writer.h"
#include "results/table_sections.h"

namespace oasis {

// One figure or finding a row, in full precision: what CSV and JSON show.
struct ResultRows {
  std::vector<std::string> columns;
  std::vector<std::vector<QueryCell>> rows;
};

std::string claims_section(const TableScope& scope);
ResultRows claims_rows(const TableScope& scope);

std::string comparisons_section(const TableScope& scope);
ResultRows comparisons_rows(const TableScope& scope);

std::string ablations_section(const TableScope& scope);
ResultRows ablations_rows(const TableScope& scope);

std::string answer_pairs_section(const TableScope& scope);
ResultRows answer_pairs_rows(const TableScope& scope);

}  // namespace oasis
