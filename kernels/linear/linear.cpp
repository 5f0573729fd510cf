#include "kernels/linear/linear.h"

#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>
#include <string_view>

#include "kernels/linear/thin_product.h"

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

// Adds a·b to `sum`, which starts as the product.
void accumulate_product(at::Tensor& sum, const at::Tensor& a, const at::Tensor& b) {
  if (!sum.defined()) {
    sum = matrix_product(a, b);
  } else if (sum.is_cpu()) {
    sum.add_(matrix_product(a, b));
  } else {
    sum.addmm_(a, b);
  }
}

class LinearsFunction : public torch::autograd::Function<LinearsFunction> {
 public:
  static variable_list forward(AutogradContext* ctx, const at::Tensor& x_input,
                               at::TensorList weights, at::ScalarType type) {
    ctx->set_materialize_grads(false);
    ctx->saved_data["x_type"] = x_input.scalar_type();
    ctx->saved_data["shape"] = x_input.sizes();
    const auto x = x_input.reshape({-1, x_input.size(-1)}).to(type);
    auto shape = x_input.sizes().vec();
    variable_list saved = {x}, outputs;
    std::vector<int64_t> types;
    for (const auto& weight : weights) {
      types.push_back(static_cast<int64_t>(weight.scalar_type()));
      saved.push_back(weight.to(type));
      shape.back() = weight.size(0);
      outputs.push_back(matrix_product(x, saved.back().t()).view(shape));
    }
    ctx->saved_data["weight_types"] = types;
    ctx->save_for_backward(saved);
    return outputs;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const auto types = ctx->saved_data["weight_types"].toIntVector();
    const auto& x = saved[0];
    variable_list result(grads.size() + 2);  // x, the weights, the type
    at::Tensor grad_x;
    for (size_t i = 0; i < grads.size(); ++i) {
      if (!grads[i].defined()) continue;
      const auto& weight = saved[i + 1];
      const auto grad = grads[i].reshape({-1, weight.size(0)});
      if (ctx->needs_input_grad(0)) accumulate_product(grad_x, grad, weight);
      if (!ctx->needs_input_grad(i + 1)) continue;
      result[i + 1] = weight_gradient(grad, x, static_cast<at::ScalarType>(types[i]));
    }
    if (grad_x.defined()) {
      result[0] = grad_x.view(ctx->saved_data["shape"].toIntVector())
                      .to(ctx->saved_data["x_type"].toScalarType());
    }
    return result;
  }
};

// The weights as one matrix, where no gradient is asked for and they follow each other in memory;
// else undefined.
at::Tensor joined(const std::vector<at::Tensor>& weights) {
  const auto& first = weights.front();
  if (weights.size() == 1 || at::GradMode::is_enabled() || !first.is_contiguous()) return {};
  int64_t rows = 0;
  for (const auto& weight : weights) {
    if (!weight.is_contiguous() || !weight.is_alias_of(first) ||
        weight.scalar_type() != first.scalar_type() || weight.size(1) != first.size(1) ||
        weight.storage_offset() != first.storage_offset() + rows * first.size(1)) {
      return {};
    }
    rows += weight.size(0);
  }
  return first.as_strided({rows, first.size(1)}, {first.size(1), 1});
}

// The type of the products, where LinearsFunction serves.
std::optional<at::ScalarType> product_type(const at::Tensor& x,
                                           const std::vector<at::Tensor>& weights) {
  auto type = x.scalar_type();
  if (x.is_cuda()) {
    if (at::autocast::is_autocast_enabled(at::kCUDA)) {
      type = at::autocast::get_autocast_dtype(at::kCUDA);
    }
    return type;
  }
  double multiplications = 0;
  for (const auto& weight : weights) {
    if (weight.scalar_type() != type) return std::nullopt;
    multiplications += static_cast<double>(x.numel()) * static_cast<double>(weight.size(0));
  }
  return onednn_serves(x, multiplications) ? std::optional(type) : std::nullopt;
}

}  // namespace

at::Tensor weight_gradient(const at::Tensor& grad, const at::Tensor& x, at::ScalarType type) {
  if (type == at::kFloat && type != x.scalar_type()) return at::mm(grad.t(), x, at::kFloat);
  return matrix_product(grad.t(), x).to(type);
}

at::Tensor matrix_product(const at::Tensor& a, const at::Tensor& b) {
  const double multiplications = static_cast<double>(a.numel()) * static_cast<double>(b.size(1));
  if (!onednn_serves(a, multiplications) || b.scalar_type() != at::kFloat) return at::mm(a, b);
  return onednn_linear()->call(a, b.t(), std::nullopt, "none",
                               c10::List<std::optional<at::Scalar>>(), "");
}

std::vector<at::Tensor> linears(const at::Tensor& x, const std::vector<at::Tensor>& weights) {
  if (const auto whole = joined(weights); whole.defined()) {
    std::vector<int64_t> rows;
    for (const auto& weight : weights) rows.push_back(weight.size(0));
    return linears(x, {whole})[0].split_with_sizes(rows, -1);
  }
  if (weights.size() == 1 && !at::GradMode::is_enabled() && thin_product_serves(x, weights[0])) {
    return {thin_product(x, weights[0])};
  }
  if (const auto type = product_type(x, weights)) {
    return LinearsFunction::apply(x, at::TensorList(weights), *type);
  }
  std::vector<at::Tensor> outputs;
  for (const auto& weight : weights) outputs.push_back(at::linear(x, weight));
  return outputs;
}

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  if (bias.defined() && x.is_cuda()) return at::linear(x, weight, bias);
  const auto y = linears(x, {weight})[0];
  return bias.defined() ? y + bias : y;
}

}  // namespace oasis
