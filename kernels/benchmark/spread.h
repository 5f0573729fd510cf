// The spread of repeated measurements.
#pragma once

#include <cstdint>
#include <vector>

namespace oasis {

struct Spread {
  double median = 0;
  double p10 = 0;
  double p90 = 0;
  std::int64_t n = 0;
};

// Percentiles by linear interpolation between order statistics (NumPy's default). At least one
// sample.
Spread spread_of(std::vector<double> samples);

}  // namespace oasis
