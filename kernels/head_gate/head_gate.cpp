#include "kernels/head_gate/head_gate.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "kernels/dispatch.h"
#include "kernels/head_gate/head_gate_cuda.h"
#include "kernels/parallel.h"
#include "kernels/vector_loops.h"

namespace oasis {

const HeadGateCuda* head_gate_cuda = nullptr;

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Tokens per partial sum of the gradients of weight and bias.
constexpr int64_t kTokensPerSum = 32;

// y [B,T,H·d], gates [B,T,H]
std::tuple<at::Tensor, at::Tensor> forward_cpu(const at::Tensor& x, const at::Tensor& weight,
                                               const at::Tensor& bias, const at::Tensor& context) {
  const int64_t B = context.size(0), H = context.size(1), T = context.size(2), d = context.size(3);
  const int64_t slice = weight.size(1);
  auto y = at::empty({B, T, H * d}, x.options());
  auto gates = at::empty({B, T, H}, x.options());
  dispatch_floating(x.scalar_type(), "oasis::head_gate", [&]<typename scalar_t>() {
    const auto* in = x.const_data_ptr<scalar_t>();
    const auto* w = weight.const_data_ptr<scalar_t>();
    const auto* b = bias.const_data_ptr<scalar_t>();
    const auto* heads = context.const_data_ptr<scalar_t>();
    auto* out = y.mutable_data_ptr<scalar_t>();
    auto* g = gates.mutable_data_ptr<scalar_t>();
    parallel_rows(B * T, 16, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin * H; row < end * H; ++row) {
        const int64_t token = row / H, h = row % H;
        const scalar_t logit = dot(in + row * slice, w + h * slice, slice) + b[h];
        g[row] = 1 / (1 + std::exp(-logit));
        const scalar_t* head = heads + token / T * context.stride(0) + h * context.stride(1) +
                               token % T * context.stride(2);
#pragma omp simd
        for (int64_t i = 0; i < d; ++i) out[row * d + i] = g[row] * head[i];
      }
    });
  });
  return {y, gates};
}

// With ∂g = Σ_i ∂y_i·context_i and ∂logit = ∂g·g·(1 − g):
//   ∂context = g·∂y;  ∂x = ∂logit·w;  ∂w = Σ_tokens ∂logit·x;  ∂bias = Σ_tokens ∂logit
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> backward_cpu(const at::Tensor& grad,
                                                                        const at::Tensor& x,
                                                                        const at::Tensor& weight,
                                                                        const at::Tensor& context,
                                                                        const at::Tensor& gates) {
  const int64_t B = context.size(0), H = context.size(1), T = context.size(2), d = context.size(3);
  const int64_t slice = weight.size(1), D = H * slice;
  const int64_t chunks = (B * T + kTokensPerSum - 1) / kTokensPerSum;
  auto grad_x = at::empty_like(x);
  auto grad_context = at::empty({B, T, H, d}, context.options());
  auto partial = at::zeros({chunks, D + H}, x.options());  // of the weight and then of the bias
  dispatch_floating(x.scalar_type(), "oasis::head_gate backward", [&]<typename scalar_t>() {
    const auto* dy = grad.const_data_ptr<scalar_t>();
    const auto* in = x.const_data_ptr<scalar_t>();
    const auto* w = weight.const_data_ptr<scalar_t>();
    const auto* heads = context.const_data_ptr<scalar_t>();
    const auto* g = gates.const_data_ptr<scalar_t>();
    auto* dx = grad_x.mutable_data_ptr<scalar_t>();
    auto* dheads = grad_context.mutable_data_ptr<scalar_t>();
    auto* sums = partial.mutable_data_ptr<scalar_t>();
    parallel_rows(chunks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin * kTokensPerSum * H; row < std::min(end * kTokensPerSum, B * T) * H;
           ++row) {
        const int64_t token = row / H, h = row % H;
        const scalar_t* head = heads + token / T * context.stride(0) + h * context.stride(1) +
                               token % T * context.stride(2);
        const scalar_t grad_logit = dot(dy + row * d, head, d) * g[row] * (1 - g[row]);
#pragma omp simd
        for (int64_t i = 0; i < d; ++i) dheads[row * d + i] = g[row] * dy[row * d + i];
#pragma omp simd
        for (int64_t i = 0; i < slice; ++i) dx[row * slice + i] = grad_logit * w[h * slice + i];
        scalar_t* sum = sums + token / kTokensPerSum * (D + H);
        axpy(grad_logit, in + row * slice, sum + h * slice, slice);
        sum[D + h] += grad_logit;
      }
    });
  });
  const auto sum = partial.sum(0);
  return {grad_x, sum.narrow(0, 0, D).view(weight.sizes()), sum.narrow(0, D, H),
          grad_context.transpose(1, 2)};
}

class HeadGateFunction : public torch::autograd::Function<HeadGateFunction> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x_input,
                            const at::Tensor& weight_input, const at::Tensor& bias_input,
                            const at::Tensor& context_input) {
    const auto type = x_input.is_cpu() ? x_input.scalar_type() : at::kFloat;
    const auto x = x_input.contiguous();
    const auto weight = weight_input.to(type).contiguous(), bias = bias_input.to(type).contiguous();
    const auto context = context_input.stride(3) == 1 ? context_input : context_input.contiguous();
    const auto [y, gates] = x.is_cpu() ? forward_cpu(x, weight, bias, context)
                                       : head_gate_cuda->forward(x, weight, bias, context);
    ctx->save_for_backward({x, weight, context, gates});
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const auto grad = grads[0].contiguous();
    const auto backward = grad.is_cpu() ? &backward_cpu : head_gate_cuda->backward;
    const auto [x, weight, bias, context] = backward(grad, saved[0], saved[1], saved[2], saved[3]);
    return {x, weight, bias, context};
  }
};

}  // namespace

at::Tensor head_gate(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                     const at::Tensor& context) {
  TORCH_CHECK(x.dim() == 3 && context.dim() == 4 && x.size(0) == context.size(0) &&
                  x.size(1) == context.size(2) && context.size(1) > 0,
              "oasis::head_gate: x must be [B, T, D] and context [B, H, T, d], not ", x.sizes(),
              " and ", context.sizes());
  const int64_t B = x.size(0), T = x.size(1), D = x.size(2), H = context.size(1);
  TORCH_CHECK(weight.dim() == 2 && weight.size(0) == H && weight.size(1) * H == D &&
                  bias.dim() == 1 && bias.size(0) == H,
              "oasis::head_gate: weight must be [", H, ", ", D, "/", H, "] and bias [", H,
              "], not ", weight.sizes(), " and ", bias.sizes());
  const bool served =
      x.is_cpu() || (head_gate_cuda != nullptr && head_gate_cuda->serves(x, context));
  if (served && x.scalar_type() == context.scalar_type()) {
    return HeadGateFunction::apply(x, weight, bias, context);
  }
  const auto logits = (x.reshape({B, T, H, D / H}) * weight).sum(-1) + bias;
  const auto gates = at::sigmoid(logits).unsqueeze(-1).to(context.scalar_type());
  return (context.transpose(1, 2) * gates).reshape({B, T, -1});
}

}  // namespace oasis

TORCH_LIBRARY_FRAGMENT(oasis, m) {
  m.def("head_gate(Tensor x, Tensor weight, Tensor bias, Tensor context) -> Tensor",
        &oasis::head_gate);
}
