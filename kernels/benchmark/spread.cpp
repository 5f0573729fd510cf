#include "kernels/benchmark/spread.h"

#include <algorithm>
#include <cmath>

#include "support/error.h"

namespace oasis {
namespace {

double percentile(const std::vector<double>& sorted, double share) {
  const double position = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(position);
  const auto above = std::min(below + 1, sorted.size() - 1);
  return std::lerp(sorted[below], sorted[above], position - static_cast<double>(below));
}

}  // namespace

Spread spread_of(std::vector<double> samples) {
  if (samples.empty()) throw failed("benchmark: no sample to take a median of");
  std::ranges::sort(samples);
  return {percentile(samples, 0.5), percentile(samples, 0.1), percentile(samples, 0.9),
          static_cast<std::int64_t>(samples.size())};
}

}  // namespace oasis
