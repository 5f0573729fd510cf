#include "kernels/rms_norm/rms_norm.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <tuple>
#include <vector>

#include "kernels/dispatch.h"
#include "kernels/parallel.h"
#include "kernels/vector_loops.h"

namespace oasis {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Rows per partial sum of the weight's gradient: few, so that rounding does not grow with the
// batch.
constexpr int64_t kChunk = 32;

// x [M, D] -> y [M, D], inverse_rms [M]
std::tuple<at::Tensor, at::Tensor> forward_cpu(const at::Tensor& x, const at::Tensor& weight,
                                               double eps) {
  const int64_t M = x.size(0), D = x.size(1);
  auto y = at::empty_like(x);
  auto inverse_rms = at::empty({M}, x.options());
  dispatch_floating(x.scalar_type(), "oasis::rms_norm", [&]<typename scalar_t>() {
    const auto* in = x.const_data_ptr<scalar_t>();
    const auto* w = weight.const_data_ptr<scalar_t>();
    auto* out = y.mutable_data_ptr<scalar_t>();
    auto* r = inverse_rms.mutable_data_ptr<scalar_t>();
    parallel_rows(M, 32, [&](int64_t begin, int64_t end) {
      for (int64_t m = begin; m < end; ++m) {
        const scalar_t* row = in + m * D;
        r[m] =
            1 / std::sqrt(dot(row, row, D) / static_cast<scalar_t>(D) + static_cast<scalar_t>(eps));
#pragma omp simd
        for (int64_t d = 0; d < D; ++d) out[m * D + d] = w[d] * (row[d] * r[m]);
      }
    });
  });
  return {y, inverse_rms};
}

// ∂x = r·(w∘∂y) − x·r³/D·Σ(w∘∂y∘x);  ∂w = Σ_M ∂y∘x·r
std::tuple<at::Tensor, at::Tensor> backward_cpu(const at::Tensor& grad_y, const at::Tensor& x,
                                                const at::Tensor& weight,
                                                const at::Tensor& inverse_rms) {
  const int64_t M = x.size(0), D = x.size(1);
  const int64_t chunks = (M + kChunk - 1) / kChunk;
  auto grad_x = at::empty_like(x);
  auto partial = at::zeros({chunks, D}, x.options());
  dispatch_floating(x.scalar_type(), "oasis::rms_norm backward", [&]<typename scalar_t>() {
    const auto* in = x.const_data_ptr<scalar_t>();
    const auto* w = weight.const_data_ptr<scalar_t>();
    const auto* r = inverse_rms.const_data_ptr<scalar_t>();
    const auto* dy = grad_y.const_data_ptr<scalar_t>();
    auto* dx = grad_x.mutable_data_ptr<scalar_t>();
    auto* sums = partial.mutable_data_ptr<scalar_t>();
    parallel_rows(chunks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t c = begin; c < end; ++c) {
        scalar_t* dw = sums + c * D;
        for (int64_t m = c * kChunk; m < std::min(M, (c + 1) * kChunk); ++m) {
          const scalar_t* row = in + m * D;
          const scalar_t* dout = dy + m * D;
          const scalar_t scale = r[m];
          scalar_t product = 0;
#pragma omp simd reduction(+ : product)
          for (int64_t d = 0; d < D; ++d) product += dout[d] * w[d] * row[d];
          const scalar_t pull = product * scale * scale * scale / static_cast<scalar_t>(D);
#pragma omp simd
          for (int64_t d = 0; d < D; ++d) {
            dx[m * D + d] = scale * dout[d] * w[d] - pull * row[d];
            dw[d] += dout[d] * row[d] * scale;
          }
        }
      }
    });
  });
  return {grad_x, partial.sum(0)};
}

class RmsNormFunction : public torch::autograd::Function<RmsNormFunction> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight,
                            double eps) {
    const auto rows = x.reshape({-1, x.size(-1)}).contiguous();
    const auto w = weight.to(x.scalar_type()).contiguous();
    const auto [y, inverse_rms] = forward_cpu(rows, w, eps);
    ctx->save_for_backward({rows, w, inverse_rms});
    return y.view(x.sizes());
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const auto grad_y = grads[0].reshape(saved[0].sizes()).contiguous();
    const auto [grad_x, grad_w] = backward_cpu(grad_y, saved[0], saved[1], saved[2]);
    return {grad_x.view(grads[0].sizes()), grad_w, at::Tensor()};
  }
};

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  TORCH_CHECK(x.dim() >= 1 && weight.dim() == 1 && weight.size(0) == x.size(-1),
              "oasis::rms_norm: weight must be [", x.size(-1), "], not ", weight.sizes());
  if (x.is_cpu()) return RmsNormFunction::apply(x, weight, eps);
  const auto type = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const auto wide = x.to(type);
  const auto normed = wide * (wide * wide).mean(-1, /*keepdim=*/true).add(eps).rsqrt();
  return (normed * weight.to(type)).to(x.scalar_type());
}

}  // namespace oasis

TORCH_LIBRARY_FRAGMENT(oasis, m) {
  m.def("rms_norm(Tensor x, Tensor weight, float eps) -> Tensor", &oasis::rms_norm);
}
