// Runs benchmarks under Google Benchmark.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "kernels/benchmark/benchmark.h"

namespace oasis::bench {

// The benchmarks whose name a POSIX extended regular expression finds; a leading '-' turns it around,
// as --benchmark_filter has it. Throws Error (bad input) for a bad expression.
std::vector<Benchmark> filtered(std::vector<Benchmark> benchmarks, const std::string& expression);

struct GoogleFlags {
  std::string filter;       // of --benchmark_filter
  bool list_only = false;   // --benchmark_list_tests
  bool own_output = false;  // --benchmark_format: Google Benchmark's report goes to stdout
};

// Hands `arguments` (--benchmark_…) to Google Benchmark, to be called once. Throws Error (bad
// input) for one that it does not know.
GoogleFlags initialize_google_benchmark(const std::vector<std::string>& arguments, bool quick);

struct RunEvents {
  std::function<void(const Labels&)> begins;
  std::function<void(const Row&)> ended;  // checked and timed, or failed
};

// What Google Benchmark's JSON says about the whole run.
using Context = std::map<std::string, std::string>;

// One after the other; what fails has its reason in its row.
void run_benchmarks(const std::vector<Benchmark>& benchmarks, const Target& target,
                    const GoogleFlags& flags, const Context& context, const RunEvents& events);

}  // namespace oasis::bench
