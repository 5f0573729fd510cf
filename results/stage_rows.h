// The rows that a finished stage leaves, inside a transaction of the caller's.
#pragma once

#include <SQLiteCpp/Database.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "results/store.h"

namespace oasis {

std::optional<double> finite(double value);  // empty for what a database cannot hold or compare

void delete_results(SQLite::Database& database, std::int64_t stage_id);

// `dataset`: what the rows that name none were evaluated on.
void insert_results(SQLite::Database& database, std::int64_t stage_id, const std::string& dataset,
                    const StageResult& result);

void insert_metrics(SQLite::Database& database, std::int64_t stage_id, const std::string& dataset,
                    const std::vector<MetricRow>& metrics);

// In place of scores of the same generations and rules. Error (failed) for a problem that the stage
// has no text of.
void insert_scores(SQLite::Database& database, std::int64_t stage_id,
                   const std::vector<GenerationScore>& scores);

}  // namespace oasis
