// The tables of the benchmarks, from the view `table_bench`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "results/store.h"

namespace oasis {

// Stands for a suite: `oasis tables --suite bench` shows the benchmarks.
inline constexpr const char* kBenchSuite = "bench";

bool has_benchmarks(const Store& store);

// The newest rows, of every run or of one: operations with their formulations side by side, and
// training steps.
std::string render_benchmarks(const Store& store,
                              std::optional<std::int64_t> run_id = std::nullopt);

}  // namespace oasis
