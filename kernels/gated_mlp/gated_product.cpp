#include "kernels/gated_mlp/gated_product.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/silu.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "kernels/dispatch.h"
#include "kernels/normalizer/vector_math.h"
#include "kernels/parallel.h"

namespace oasis {
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

}  // namespace

at::Tensor gated_product(const at::Tensor& gate, const at::Tensor& up) {
  TORCH_CHECK(gate.sizes() == up.sizes() && gate.scalar_type() == up.scalar_type(),
              "oasis::gated_product: gate ", gate.sizes(), " ", gate.scalar_type(), " and up ",
              up.sizes(), " ", up.scalar_type(), " differ");
  if (gate.is_cpu()) return GatedProductFunction::apply(gate, up);
  return at::silu(gate) * up;
}

}  // namespace oasis

TORCH_LIBRARY_FRAGMENT(oasis, m) {
  m.def("gated_product(Tensor gate, Tensor up) -> Tensor", &oasis::gated_product);
}
