// The differentiable operator oasis::depth_route.
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <string_view>

#include "kernels/depth_route/depth_route_autograd.h"

namespace oasis {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

class DepthRouteFunction : public torch::autograd::Function<DepthRouteFunction> {
 public:
  static variable_list forward(AutogradContext* ctx, const at::Tensor& direction,
                               const std::optional<at::Tensor>& logit_bias,
                               const std::optional<at::Tensor>& nulls,
                               const std::optional<at::Tensor>& beta, at::TensorList sources,
                               const DepthRouteOptions& options) {
    ctx->set_materialize_grads(false);
    const auto inputs = make_inputs(direction, logit_bias, nulls, beta);
    const auto out = depth_route_forward(sources.vec(), inputs, options);
    variable_list saved = tensors_to_save(inputs, out);
    saved.insert(saved.end(), sources.begin(), sources.end());
    ctx->save_for_backward(saved);
    save_options(ctx, options);
    return {out.routed, out.weights};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const auto inputs = saved_inputs(saved);
    const auto forward = saved_forward(saved);
    const std::vector<at::Tensor> sources(saved.begin() + kSavedTensors, saved.end());
    const auto options = saved_options(ctx);
    variable_list source_gradients;
    for (const auto& source : sources) source_gradients.push_back(at::empty_like(source));
    const auto g = depth_route_backward(sources, inputs, options, forward, grads[0], grads[1],
                                        source_gradients);
    variable_list result = {g.direction, g.logit_bias, g.nulls, g.beta};
    result.insert(result.end(), source_gradients.begin(), source_gradients.end());
    result.emplace_back();  // options
    return result;
  }
};

std::tuple<at::Tensor, at::Tensor> depth_route_operator(
    at::TensorList sources, const at::Tensor& direction,
    const std::optional<at::Tensor>& logit_bias, const std::optional<at::Tensor>& nulls,
    const std::optional<at::Tensor>& beta, c10::string_view normalizer, double scale, double zeta,
    double gamma, bool normalize_keys, double eps) {
  DepthRouteOptions options;
  options.normalizer =
      parse_normalizer(std::string_view(normalizer.data(), normalizer.size()), zeta, gamma);
  options.scale = scale;
  options.normalize_keys = normalize_keys;
  options.eps = eps;
  return depth_route(sources.vec(), make_inputs(direction, logit_bias, nulls, beta), options);
}

}  // namespace

std::tuple<at::Tensor, at::Tensor> depth_route(const std::vector<at::Tensor>& sources,
                                               const DepthRouteInputs& inputs,
                                               const DepthRouteOptions& options) {
  variable_list contiguous;
  for (const auto& source : sources) contiguous.push_back(source.contiguous());
  const auto out = DepthRouteFunction::apply(inputs.direction, as_optional(inputs.logit_bias),
                                             as_optional(inputs.nulls), as_optional(inputs.beta),
                                             at::TensorList(contiguous), options);
  return {out[0], out[1]};
}

}  // namespace oasis

TORCH_LIBRARY_FRAGMENT(oasis, m) {
  m.def(
      "depth_route(Tensor[] sources, Tensor direction, Tensor? logit_bias, Tensor? nulls, "
      "Tensor? beta, str normalizer, float scale, float zeta=1.0, float gamma=0.0, "
      "bool normalize_keys=False, float eps=1e-6) -> (Tensor routed, Tensor weights)",
      &oasis::depth_route_operator);
}
