// What the two autograd nodes of depth routing share: the functional operator's and the history's.
#pragma once

#include <optional>
#include <vector>

#include "kernels/autograd.h"
#include "kernels/depth_route/depth_route.h"

namespace oasis {

// An operator sees an absent tensor as nullopt, the C++ interface as an undefined tensor.
inline std::optional<at::Tensor> as_optional(const at::Tensor& tensor) {
  return tensor.defined() ? std::optional(tensor) : std::nullopt;
}

inline DepthRouteInputs make_inputs(const at::Tensor& direction,
                                    const std::optional<at::Tensor>& logit_bias,
                                    const std::optional<at::Tensor>& nulls,
                                    const std::optional<at::Tensor>& beta) {
  return {direction, logit_bias.value_or(at::Tensor()), nulls.value_or(at::Tensor()),
          beta.value_or(at::Tensor())};
}

// The tensors that a backward pass needs besides the sources, in the order of the readers below.
inline std::vector<at::Tensor> tensors_to_save(const DepthRouteInputs& inputs,
                                               const DepthRouteForward& forward) {
  return {inputs.direction, inputs.logit_bias, inputs.nulls,     inputs.beta,
          forward.weights,  forward.logits,    forward.key_scale};
}
inline constexpr std::ptrdiff_t kSavedTensors = 7;

inline DepthRouteInputs saved_inputs(const std::vector<at::Tensor>& saved) {
  return {saved[0], saved[1], saved[2], saved[3]};
}

inline DepthRouteForward saved_forward(const std::vector<at::Tensor>& saved) {
  return {{}, saved[4], saved[5], saved[6]};
}

inline void save_options(torch::autograd::AutogradContext* ctx, const DepthRouteOptions& options) {
  save_normalizer(ctx, options.normalizer);
  ctx->saved_data["scale"] = options.scale;
  ctx->saved_data["normalize_keys"] = options.normalize_keys;
  ctx->saved_data["eps"] = options.eps;
  ctx->saved_data["has_line"] = options.bias_line.has_value();
  const auto line = options.bias_line.value_or(DepthLine{0, 0});
  ctx->saved_data["line_first"] = line.first;
  ctx->saved_data["line_step"] = line.step;
}

inline DepthRouteOptions saved_options(torch::autograd::AutogradContext* ctx) {
  const DepthLine line{ctx->saved_data["line_first"].toDouble(),
                       ctx->saved_data["line_step"].toDouble()};
  return {saved_normalizer(ctx), ctx->saved_data["scale"].toDouble(),
          ctx->saved_data["normalize_keys"].toBool(), ctx->saved_data["eps"].toDouble(),
          ctx->saved_data["has_line"].toBool() ? std::optional(line) : std::nullopt};
}

}  // namespace oasis
