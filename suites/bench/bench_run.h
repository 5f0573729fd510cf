// A run of benchmarks that goes into a results database.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/benchmark/benchmark.h"
#include "kernels/benchmark/runner.h"
#include "results/benchmark_rows.h"
#include "results/store.h"
#include "suites/plan.h"
#include "support/progress_line.h"

namespace oasis {

// Every benchmark, or those that the filter finds. Throws Error (bad input) when it finds none.
std::vector<bench::Benchmark> choose_benchmarks(const bench::Target& target,
                                                const std::string& filter);

struct BenchSummary {
  std::int64_t run_id = 0;
  std::vector<BenchmarkRow> rows;

  // Rows of ours that were not timed, by name with the reason: they failed.
  std::vector<std::string> failures() const;
};

// Stores each row as soon as it is there.
BenchSummary run_into(Store& store, const std::vector<bench::Benchmark>& benchmarks,
                      const bench::Target& target, const RunDevice& device,
                      const bench::GoogleFlags& flags, ProgressLine& progress);

}  // namespace oasis
