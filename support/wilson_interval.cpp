#include "support/wilson_interval.h"

#include <algorithm>
#include <cmath>

namespace oasis {

Interval wilson_interval(std::int64_t successes, std::int64_t n) {
  constexpr double kZ = 1.959963984540054;  // the normal distribution's 97.5th percentile
  if (n == 0) return {0, 1};
  const auto trials = static_cast<double>(n);
  const double p = static_cast<double>(successes) / trials;
  const double z2 = kZ * kZ;
  const double centre = (p + z2 / (2 * trials)) / (1 + z2 / trials);
  const double half =
      kZ / (1 + z2 / trials) * std::sqrt(p * (1 - p) / trials + z2 / (4 * trials * trials));
  // At none and at all of n one end is exact; rounding must not take it away.
  return {successes == 0 ? 0 : std::max(0.0, centre - half),
          successes == n ? 1 : std::min(1.0, centre + half)};
}

}  // namespace oasis
