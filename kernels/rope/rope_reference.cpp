#include "kernels/rope/rope_reference.h"

#include <ATen/ops/empty_like.h>

#include <cmath>

#include "kernels/reference_values.h"

namespace oasis::reference {
namespace {

// Every pair (x_i, x_{i+half}) is a point of the plane, turned by sign·φ_i and scaled.
at::Tensor turned(const at::Tensor& x_in, double theta, int64_t offset,
                  const std::vector<double>& divisors, double magnitude, double sign) {
  const auto x = plain(x_in);
  auto y = at::empty_like(x);
  const int64_t T = x.size(2), d = x.size(3), half = d / 2;
  const int64_t rows = x.size(0) * x.size(1) * T;
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t t = row % T;
    const double* in = x.const_data_ptr<double>() + row * d;
    double* out = y.mutable_data_ptr<double>() + row * d;
    for (int64_t i = 0; i < half; ++i) {
      const double exponent = -2.0 * static_cast<double>(i) / static_cast<double>(d);
      const double divisor = divisors.empty() ? 1.0 : divisors[static_cast<size_t>(i)];
      const double angle =
          sign * static_cast<double>(offset + t) * std::pow(theta, exponent) / divisor;
      out[i] = magnitude * (in[i] * std::cos(angle) - in[i + half] * std::sin(angle));
      out[i + half] = magnitude * (in[i + half] * std::cos(angle) + in[i] * std::sin(angle));
    }
  }
  return y;
}

}  // namespace

at::Tensor rope(const at::Tensor& x, double theta, int64_t offset,
                const std::vector<double>& divisors, double magnitude) {
  return turned(x, theta, offset, divisors, magnitude, +1);
}

at::Tensor rope_backward(const at::Tensor& grad_y, double theta, int64_t offset,
                         const std::vector<double>& divisors, double magnitude) {
  return turned(grad_y, theta, offset, divisors, magnitude, -1);
}

}  // namespace oasis::reference
