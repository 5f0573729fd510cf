#include "kernels/gated_mlp/gated_product.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/silu.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "kernels/dispatch.h"
#include "kernels/gated_mlp/gated_product_cuda.h"
#include "kernels/normalizer/vector_math.h"
#include "kernels/parallel.h"

namespace oasis {

const GatedProductCuda* gated_product_cuda = nullptr;

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kBlock = 8192;  // elements per task

class GatedProductFunction : public torch::autograd::Function<GatedProductFunction> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& gate_input,
                            const at::Tensor& up_input) {
    const auto gate = gate_input.contiguous(), up = up_input.contiguous();
    ctx->save_for_backward({gate, up});
    auto out = at::empty_like(gate);
    dispatch_floating(gate.scalar_type(), "oasis::gated_product", [&]<typename scalar_t>() {
      const auto* g = gate.const_data_ptr<scalar_t>();
      const auto* u = up.const_data_ptr<scalar_t>();
      auto* y = out.mutable_data_ptr<scalar_t>();
      parallel_elements(gate.numel(), kBlock, [&](int64_t begin, int64_t end) {
#pragma omp simd
        for (int64_t i = begin; i < end; ++i) y[i] = g[i] / (1 + vector_exp(-g[i])) * u[i];
      });
    });
    return out;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const auto& gate = saved[0];
    const auto& up = saved[1];
    const auto grad = grads[0].contiguous();
    auto grad_gate = at::empty_like(gate), grad_up = at::empty_like(up);
    dispatch_floating(gate.scalar_type(), "oasis::gated_product backward",
                      [&]<typename scalar_t>() {
                        const auto* g = gate.const_data_ptr<scalar_t>();
                        const auto* u = up.const_data_ptr<scalar_t>();
                        const auto* dy = grad.const_data_ptr<scalar_t>();
                        auto* dg = grad_gate.mutable_data_ptr<scalar_t>();
                        auto* du = grad_up.mutable_data_ptr<scalar_t>();
                        parallel_elements(gate.numel(), kBlock, [&](int64_t begin, int64_t end) {
#pragma omp simd
                          for (int64_t i = begin; i < end; ++i) {
                            const scalar_t sigmoid = 1 / (1 + vector_exp(-g[i]));
                            du[i] = dy[i] * g[i] * sigmoid;
                            dg[i] = dy[i] * u[i] * sigmoid * (1 + g[i] * (1 - sigmoid));
                          }
                        });
                      });
    return {grad_gate, grad_up};
  }
};

// [..., I] as [M, I] with unit stride; a view where the strides allow it.
at::Tensor as_matrix(const at::Tensor& x) {
  const auto rows = x.reshape({-1, x.size(-1)});
  return rows.stride(1) == 1 ? rows : rows.contiguous();
}

class GatedProductCudaFunction : public torch::autograd::Function<GatedProductCudaFunction> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& gate, const at::Tensor& up) {
    ctx->save_for_backward({gate, up});
    auto out = at::empty(gate.sizes(), gate.options());
    gated_product_cuda->forward(as_matrix(gate), as_matrix(up), as_matrix(out));
    return out;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    auto grad_gate = at::empty(saved[0].sizes(), saved[0].options());
    auto grad_up = at::empty_like(grad_gate);
    gated_product_cuda->backward(as_matrix(grads[0]), as_matrix(saved[0]), as_matrix(saved[1]),
                                 as_matrix(grad_gate), as_matrix(grad_up));
    return {grad_gate, grad_up};
  }
};

bool cuda_serves_product(const at::Tensor& x) {
  return x.is_cuda() && gated_product_cuda != nullptr && x.numel() > 0 &&
         (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16 ||
          x.scalar_type() == at::kHalf);
}

}  // namespace

at::Tensor gated_product(const at::Tensor& gate, const at::Tensor& up) {
  TORCH_CHECK(gate.sizes() == up.sizes() && gate.scalar_type() == up.scalar_type(),
              "oasis::gated_product: gate ", gate.sizes(), " ", gate.scalar_type(), " and up ",
              up.sizes(), " ", up.scalar_type(), " differ");
  if (gate.is_cpu()) return GatedProductFunction::apply(gate, up);
  if (cuda_serves_product(gate)) return GatedProductCudaFunction::apply(gate, up);
  return at::silu(gate) * up;
}

}  // namespace oasis

TORCH_LIBRARY_FRAGMENT(oasis, m) {
  m.def("gated_product(Tensor gate, Tensor up) -> Tensor", &oasis::gated_product);
}
