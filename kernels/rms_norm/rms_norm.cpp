#include "kernels/rms_norm/rms_norm.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <tuple>
#include <vector>

#include "kernels/dispatch.h"
#include "kernels/parallel.h"
#include "kernels/rms_norm/rms_norm_cuda.h"
#include "kernels/vector_loops.h"

namespace oasis {

const RmsNormCuda* rms_norm_cuda = nullptr;

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

// Outputs y, and h in front of it for a residual stream.
class RmsNormCudaFunction : public torch::autograd::Function<RmsNormCudaFunction> {
 public:
  static variable_list forward(AutogradContext* ctx, const at::Tensor& x,
                               const std::optional<at::Tensor>& branch, const at::Tensor& weight,
                               double eps, bool residual) {
    const auto rows = [D = x.size(-1)](const at::Tensor& t) {
      return t.reshape({-1, D}).contiguous();
    };
    ctx->saved_data["branch"] = branch.has_value();
    const auto w = weight.to(at::kFloat).contiguous();
    const auto in = rows(x);
    const auto added = branch.has_value() ? std::optional(rows(*branch)) : std::nullopt;
    const auto [sum, y, inverse_rms] = rms_norm_cuda->forward(in, added, w, eps);
    ctx->set_materialize_grads(false);
    if (!residual) {
      ctx->save_for_backward({in, w, inverse_rms});
      return {y.view(x.sizes())};
    }
    const auto h = branch.has_value() ? sum.view(x.sizes()) : x;
    ctx->save_for_backward({h, w, inverse_rms});
    return {h, y.view(x.sizes())};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto& grad_y = grads.back();
    const auto grad_h = grads.size() > 1 ? grads.front() : at::Tensor();
    const auto results = [&](const at::Tensor& grad, const at::Tensor& grad_weight) {
      const bool branch = ctx->saved_data["branch"].toBool();
      return variable_list{grad, branch ? grad : at::Tensor(), grad_weight, {}, {}};
    };
    if (!grad_y.defined()) return results(grad_h, {});
    const auto saved = ctx->get_saved_variables();
    const auto h = saved[0].view({-1, saved[0].size(-1)});
    const auto rows = [&](const at::Tensor& t) {
      return t.defined() ? t.reshape(h.sizes()).contiguous() : t;
    };
    const auto [grad_x, grad_weight] =
        rms_norm_cuda->backward(rows(grad_y), rows(grad_h), h, saved[1], saved[2]);
    return results(grad_x.view(grad_y.sizes()), grad_weight);
  }
};

bool cuda_serves_norm(const at::Tensor& x) {
  return x.is_cuda() && rms_norm_cuda != nullptr && rms_norm_cuda->serves(x);
}

void check_weight(const char* operation, const at::Tensor& x, const at::Tensor& weight) {
  TORCH_CHECK(x.dim() >= 1 && weight.dim() == 1 && weight.size(0) == x.size(-1), operation,
              ": weight must be [", x.size(-1), "], not ", weight.sizes());
}

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  check_weight("oasis::rms_norm", x, weight);
  if (x.is_cpu()) return RmsNormFunction::apply(x, weight, eps);
  if (cuda_serves_norm(x))
    return RmsNormCudaFunction::apply(x, std::nullopt, weight, eps, false)[0];
  const auto type = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const auto wide = x.to(type);
  const auto normed = wide * (wide * wide).mean(-1, /*keepdim=*/true).add(eps).rsqrt();
  return (normed * weight.to(type)).to(x.scalar_type());
}

std::tuple<at::Tensor, at::Tensor> add_rms_norm(const at::Tensor& x, const at::Tensor& branch,
                                                const at::Tensor& weight, double eps) {
  check_weight("oasis::add_rms_norm", x, weight);
  TORCH_CHECK(!branch.defined() || branch.sizes() == x.sizes(), "oasis::add_rms_norm: x ",
              x.sizes(), " and branch ", branch.sizes(), " differ");
  if (cuda_serves_norm(x) && (!branch.defined() || branch.scalar_type() == x.scalar_type())) {
    const auto added = branch.defined() ? std::optional(branch) : std::nullopt;
    const auto out = RmsNormCudaFunction::apply(x, added, weight, eps, true);
    return {out[0], out[1]};
  }
  const auto h = branch.defined() ? x + branch : x;
  return {h, rms_norm(h, weight, eps)};
}

}  // namespace oasis

TORCH_LIBRARY_FRAGMENT(oasis, m) {
  m.def("rms_norm(Tensor x, Tensor weight, float eps) -> Tensor", &oasis::rms_norm);
  m.def("add_rms_norm(Tensor x, Tensor? branch, Tensor weight, float eps) -> (Tensor h, Tensor y)",
        [](const at::Tensor& x, const std::optional<at::Tensor>& branch, const at::Tensor& weight,
           double eps) {
          return oasis::add_rms_norm(x, branch.value_or(at::Tensor()), weight, eps);
        });
}
