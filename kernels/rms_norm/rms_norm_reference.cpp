#include "kernels/rms_norm/rms_norm_reference.h"

#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>

#include "kernels/reference_values.h"

namespace oasis::reference {
namespace {

double inverse_rms(const double* row, int64_t D, double eps) {
  double squares = 0;
  for (int64_t d = 0; d < D; ++d) squares += row[d] * row[d];
  return 1 / std::sqrt(squares / static_cast<double>(D) + eps);
}

}  // namespace

at::Tensor rms_norm(const at::Tensor& x_in, const at::Tensor& weight_in, double eps) {
  const auto x = plain(x_in), weight = plain(weight_in);
  auto y = at::empty_like(x);
  const int64_t D = x.size(-1), rows = x.numel() / D;
  const double* w = weight.const_data_ptr<double>();
  for (int64_t m = 0; m < rows; ++m) {
    const double* in = x.const_data_ptr<double>() + m * D;
    double* out = y.mutable_data_ptr<double>() + m * D;
    const double r = inverse_rms(in, D, eps);
    for (int64_t d = 0; d < D; ++d) out[d] = w[d] * in[d] * r;
  }
  return y;
}

// y_d = w_d x_d r and ∂r/∂x_d = −r³ x_d / D, so
//   ∂L/∂x_d = w_d r ∂L/∂y_d − x_d r³/D Σ_e w_e x_e ∂L/∂y_e
RmsNormGradients rms_norm_backward(const at::Tensor& x_in, const at::Tensor& weight_in, double eps,
                                   const at::Tensor& grad_y_in) {
  const auto x = plain(x_in), weight = plain(weight_in), grad_y = plain(grad_y_in);
  RmsNormGradients grads{at::empty_like(x), at::zeros_like(weight)};
  const int64_t D = x.size(-1), rows = x.numel() / D;
  const double* w = weight.const_data_ptr<double>();
  double* dw = grads.weight.mutable_data_ptr<double>();
  for (int64_t m = 0; m < rows; ++m) {
    const double* in = x.const_data_ptr<double>() + m * D;
    const double* dy = grad_y.const_data_ptr<double>() + m * D;
    double* dx = grads.x.mutable_data_ptr<double>() + m * D;
    const double r = inverse_rms(in, D, eps);
    double product = 0;
    for (int64_t d = 0; d < D; ++d) product += w[d] * in[d] * dy[d];
    for (int64_t d = 0; d < D; ++d) {
      dx[d] = w[d] * r * dy[d] - in[d] * r * r * r / static_cast<double>(D) * product;
      dw[d] += in[d] * r * dy[d];
    }
  }
  return grads;
}

}  // namespace oasis::reference
