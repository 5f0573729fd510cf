// Benchmarks as JSON for machines.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "results/compare.h"
#include "suites/bench/bench_run.h"

namespace oasis {

nlohmann::ordered_json rows_json(const BenchSummary& summary,
                                 const std::filesystem::path& database);
nlohmann::ordered_json comparisons_json(const std::vector<BenchmarkComparison>& comparisons);

}  // namespace oasis
