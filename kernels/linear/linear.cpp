#include "kernels/linear/linear.h"

#include <ATen/Context.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>
#include <string_view>

namespace oasis {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Below this many multiplications a product costs less than setting it up.
constexpr double kSmallProduct = 1 << 18;

using LinearOperator = at::Tensor(const at::Tensor&, const at::Tensor&,
                                  const std::optional<at::Tensor>&, std::string_view,
                                  c10::List<std::optional<at::Scalar>>,
                                  std::optional<std::string_view>);

// PyTorch's own door to oneDNN in float32; absent from builds without it.
const std::optional<c10::TypedOperatorHandle<LinearOperator>>& onednn_linear() {
  static const auto handle = []() -> std::optional<c10::TypedOperatorHandle<LinearOperator>> {
    const auto found = c10::Dispatcher::singleton().findSchema({"mkldnn::_linear_pointwise", ""});
    if (!found || !at::globalContext().userEnabledMkldnn()) return std::nullopt;
    return found->typed<LinearOperator>();
  }();
  return handle;
}

bool onednn_serves(const at::Tensor& a, double multiplications) {
  return a.is_cpu() && a.scalar_type() == at::kFloat && multiplications >= kSmallProduct &&
         onednn_linear().has_value();
}

class LinearFunction : public torch::autograd::Function<LinearFunction> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight) {
    ctx->save_for_backward({x, weight});
    auto shape = x.sizes().vec();
    shape.back() = weight.size(0);
    return matrix_product(x.reshape({-1, x.size(-1)}), weight.t()).view(shape);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const auto& x = saved[0];
    const auto& weight = saved[1];
    const auto grad = grads[0].reshape({-1, weight.size(0)});
    variable_list result(2);
    if (ctx->needs_input_grad(0)) result[0] = matrix_product(grad, weight).view(x.sizes());
    if (ctx->needs_input_grad(1)) {
      result[1] = matrix_product(grad.t(), x.reshape({-1, x.size(-1)}));
    }
    return result;
  }
};

}  // namespace

at::Tensor matrix_product(const at::Tensor& a, const at::Tensor& b) {
  const double multiplications = static_cast<double>(a.numel()) * static_cast<double>(b.size(1));
  if (!onednn_serves(a, multiplications) || b.scalar_type() != at::kFloat) return at::mm(a, b);
  return onednn_linear()->call(a, b.t(), std::nullopt, "none",
                               c10::List<std::optional<at::Scalar>>(), "");
}

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const double multiplications =
      static_cast<double>(x.numel()) * static_cast<double>(weight.size(0));
  if (!onednn_serves(x, multiplications) || weight.scalar_type() != at::kFloat) {
    return at::linear(x, weight, bias.defined() ? std::optional(bias) : std::nullopt);
  }
  const auto y = LinearFunction::apply(x, weight);
  return bias.defined() ? y + bias : y;
}

}  // namespace oasis
