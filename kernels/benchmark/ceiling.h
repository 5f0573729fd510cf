// What the device can do at most, measured in the same run as what is set beside it.
#pragma once

#include "kernels/benchmark/case.h"

namespace oasis::bench {

struct Ceiling {
  double bytes_per_second = 0;  // of a large copy, counting what is read and what is written
  double flops_per_second = 0;  // of a large matrix product of one type, a multiply-add as two

  // The time that this much work takes at least.
  double seconds(double bytes, double flops) const;
};

Ceiling measure_ceiling(const Target& target, at::ScalarType type);

}  // namespace oasis::bench
