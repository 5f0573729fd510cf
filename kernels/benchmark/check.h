// A case against the truth, before it is timed.
#pragma once

#include <string>

#include "kernels/benchmark/case.h"

namespace oasis::bench {

// "" when every output and every gradient of ours loses at most twice what the eager formulation
// loses at the same precision; else what is wrong, with both errors. Both are judged by the eager
// formulation in float64 on the same values; no result can be expected to be closer than its own
// rounding. Ours runs on the whole batch; the others, and the comparison, on the first
// `checked_batch` of it.
std::string check(const Case& c, const Tensors& inputs);

}  // namespace oasis::bench
