// Depth routing as plain loops in float64, one token at a time: the contract of depth_route.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "kernels/depth_route/depth_route.h"

namespace oasis::reference {

struct DepthRoute {
  at::Tensor routed;   // [M, D]
  at::Tensor weights;  // [M, n]
};

// Tensors of any floating type and strides; results are float64.
DepthRoute depth_route(const std::vector<at::Tensor>& sources, const DepthRouteInputs& inputs,
                       const DepthRouteOptions& options);

struct DepthRouteGradients {
  std::vector<at::Tensor> sources;  // n × [M, D]
  at::Tensor direction;             // shaped as the inputs; undefined where the input is
  at::Tensor logit_bias;
  at::Tensor nulls;
  at::Tensor beta;
};

DepthRouteGradients depth_route_backward(const std::vector<at::Tensor>& sources,
                                         const DepthRouteInputs& inputs,
                                         const DepthRouteOptions& options,
                                         const at::Tensor& grad_routed,
                                         const at::Tensor& grad_weights);

}  // namespace oasis::reference
