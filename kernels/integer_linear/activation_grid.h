// The grid of static activations (integer_linear.h). Free of Torch.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace oasis {

struct ActivationGrid {
  float scale = 1;
  float zero = 0;     // before the shift
  float highest = 0;  // code; the lowest is 0
  float shift = 0;    // codes are stored less this

  std::int64_t stored_zero() const { return static_cast<std::int64_t>(zero - shift); }
};

inline ActivationGrid activation_grid(double lo, double hi, std::int64_t bits) {
  lo = std::min(lo, 0.0);
  hi = std::max(hi, 0.0);
  const double highest = std::ldexp(1.0, static_cast<int>(bits)) - 1;
  const double scale = std::max((hi - lo) / highest, 1e-12);
  return {static_cast<float>(scale), static_cast<float>(std::nearbyint(-lo / scale)),
          static_cast<float>(highest), bits == 8 ? 128.0F : 0.0F};
}

inline constexpr float kSmallestRowScale = 1e-12F;

}  // namespace oasis
