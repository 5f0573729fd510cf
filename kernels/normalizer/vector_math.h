// Elementary functions that the compiler can vectorise inside a loop.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace oasis {

// e^x within 2 ulp; 0 below -86.6 (e^x is below 3e-38 there), +inf above 88.7, NaN stays.
// Range reduction x = n·ln 2 + r with ln 2 in two parts (Cody & Waite), then the Taylor polynomial
// of e^r on |r| ≤ ln 2 / 2, whose degree 7 leaves 5e-9 relative.
inline float vector_exp(float x) {
  constexpr float kRounder = 12582912.0F;  // 1.5·2^23: adding it rounds to an integer
  constexpr float kLog2E = 1.44269504088896F;
  constexpr float kLn2High = 0.693359375F;
  constexpr float kLn2Low = -2.12194440e-4F;
  const float clamped = x < -86.6F ? -86.6F : (x > 88.7F ? 88.7F : x);
  const float shifted = clamped * kLog2E + kRounder;
  const float n = shifted - kRounder;
  const float r = (clamped - n * kLn2High) - n * kLn2Low;
  float p = 1.0F / 5040;
  p = p * r + 1.0F / 720;
  p = p * r + 1.0F / 120;
  p = p * r + 1.0F / 24;
  p = p * r + 1.0F / 6;
  p = p * r + 0.5F;
  p = (p * r) * r + r;  // e^r − 1
  // 2^(n-1), then doubled: n = 128 would overflow the exponent field.
  const auto exponent = std::bit_cast<std::uint32_t>(shifted) << 23;
  const float half_scale = std::bit_cast<float>(exponent + (126U << 23));
  const float result = (p * half_scale + half_scale) * 2.0F;
  return x < -86.6F ? 0.0F : (x > 88.7F ? HUGE_VALF : result);
}

inline double vector_exp(double x) {
  return std::exp(x);
}

}  // namespace oasis
