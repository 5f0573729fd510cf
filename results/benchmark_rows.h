// Benchmarks in the results database.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "results/store.h"

namespace oasis {

// One row of the table `benchmarks`; schema_v2.sql says what the columns are.
struct BenchmarkRow {
  std::int64_t run_id = 0;
  std::string device = {};
  std::string operation = {}, variant = {}, shape = {}, dtype = {}, pass = {};
  std::string formulation = {}, implementation = {};
  double median_seconds = 0, p10_seconds = 0, p90_seconds = 0;
  std::int64_t n = 0;
  double parts = 1;
  std::string error = {};  // not empty: there are no times
  double bytes = 0, flops = 0;
  std::int64_t tokens = 0;
  std::optional<std::int64_t> peak_bytes = {};
  double copy_bytes_per_second = 0, gemm_flops_per_second = 0;

  // What was measured: "attention softmax1 B64 H32 T512 d64 bfloat16 forward+backward, ours"
  std::string name() const;
};

// Stores a row of its run, in place of an earlier one of the same name. Errors as Store's.
void add_benchmark_row(Store& store, const BenchmarkRow& row);

// Each name's rows on each device, the newest run's alone; with `age` 1 the one before it, where
// there is one. In the order in which they were run.
std::vector<BenchmarkRow> benchmark_rows(const Store& store, int age = 0);

}  // namespace oasis
