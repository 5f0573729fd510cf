// One row of the benchmarks: what it is called, how it is made ready, what came out.
//
// Rows run under Google Benchmark (its flags choose repetitions, times and formats); each
// repetition is timed by ColdTimer and kept, so that a row has its median and percentiles.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernels/benchmark/case.h"
#include "kernels/benchmark/ceiling.h"
#include "kernels/benchmark/spread.h"

namespace oasis::bench {

struct Labels {
  std::string operation, variant, shape, dtype;
  std::string pass;            // forward, forward+backward, step
  std::string formulation;     // ours, eager, library
  std::string implementation;  // which library: "SDPA flash"; else ""

  // "attention/softmax1/B64_H32_T512_d64/bfloat16/forward+backward/library:SDPA_flash"
  std::string name() const;
};

// Ready to be timed: has run at least once.
struct Prepared {
  std::function<void()> repetition;
  // How many repetitions make the whole: more than 1 where only a part fits into memory.
  double parts = 1;
};

struct Benchmark {
  Labels labels;
  at::ScalarType dtype = at::kFloat;  // of its matrix products
  double bytes = 0, flops = 0;        // of one repetition
  std::int64_t tokens = 0;            // trained on in one repetition; 0 for an operation
  bool reports_memory = true;
  std::function<std::string()> check;  // "" or what is wrong; may be empty
  std::function<Prepared()> prepare;   // throws when it cannot run
};

struct Row {
  Labels labels;
  double bytes = 0, flops = 0;
  std::int64_t tokens = 0;
  std::string error;  // why it was not timed
  Spread seconds;
  double parts = 1;
  Ceiling ceiling;
  std::int64_t peak_bytes = 0;  // 0: not measured
};

// Three formulations of each case side by side.
std::vector<Benchmark> benchmarks_of(const std::vector<Case>& cases, const Target& target);

}  // namespace oasis::bench
