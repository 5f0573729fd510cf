// Depth routing from LibTorch operators, a source at a time: for what no kernel serves. Computes in
// float32, or in float64 when the sources are. The functions mean the same as in depth_route.h.
#pragma once

#include <vector>

#include "kernels/depth_route/depth_route.h"

namespace oasis::composed {

DepthRouteForward depth_route_forward(const std::vector<at::Tensor>& sources,
                                      const DepthRouteInputs& inputs,
                                      const DepthRouteOptions& options, at::Tensor routed);

// As oasis::depth_route_backward, without the gradients of logit_bias, nulls and beta, which follow
// from ∂L/∂g [M, n], the second result.
std::tuple<DepthRouteGradients, at::Tensor> depth_route_backward(
    const std::vector<at::Tensor>& sources, const DepthRouteInputs& inputs,
    const DepthRouteOptions& options, const DepthRouteForward& forward,
    const at::Tensor& grad_routed, const at::Tensor& grad_weights,
    const std::vector<at::Tensor>& source_gradients);

// Of a source without a partial gradient.
at::Tensor depth_gather_gradient(const DepthSource& source, const at::Tensor& initial);

}  // namespace oasis::composed
