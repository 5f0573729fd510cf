#include "kernels/gated_mlp/gated_product_reference.h"

#include <ATen/ops/empty_like.h>

#include <cmath>

#include "kernels/reference_values.h"

namespace oasis::reference {
namespace {

double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

}  // namespace

at::Tensor gated_product(const at::Tensor& gate_in, const at::Tensor& up_in) {
  const auto gate = plain(gate_in), up = plain(up_in);
  auto out = at::empty_like(gate);
  const double* g = gate.const_data_ptr<double>();
  const double* u = up.const_data_ptr<double>();
  double* y = out.mutable_data_ptr<double>();
  for (int64_t i = 0; i < gate.numel(); ++i) y[i] = g[i] * sigmoid(g[i]) * u[i];
  return out;
}

// d silu(g)/dg = σ(g) + g σ(g) (1 − σ(g)), and 1 − σ(g) = σ(−g)
GatedProductGradients gated_product_backward(const at::Tensor& gate_in, const at::Tensor& up_in,
                                             const at::Tensor& grad_out) {
  const auto gate = plain(gate_in), up = plain(up_in), grad = plain(grad_out);
  GatedProductGradients grads{at::empty_like(gate), at::empty_like(up)};
  const double* g = gate.const_data_ptr<double>();
  const double* u = up.const_data_ptr<double>();
  const double* dy = grad.const_data_ptr<double>();
  double* dg = grads.gate.mutable_data_ptr<double>();
  double* du = grads.up.mutable_data_ptr<double>();
  for (int64_t i = 0; i < gate.numel(); ++i) {
    const double s = sigmoid(g[i]);
    dg[i] = dy[i] * u[i] * (s + g[i] * s * sigmoid(-g[i]));
    du[i] = dy[i] * g[i] * s;
  }
  return grads;
}

}  // namespace oasis::reference
