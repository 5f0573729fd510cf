// Whole training steps of every method, through the trainer that suites use.
#pragma once

#include <vector>

#include "kernels/benchmark/benchmark.h"

namespace oasis::bench {

// On CUDA the 110M Llama-style model at two block lengths, in bfloat16; on the CPU, and where it is
// to be quick, a small model. Tokens are random.
std::vector<Benchmark> step_benchmarks(const Target& target);

}  // namespace oasis::bench
