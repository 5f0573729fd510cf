// The CUDA implementation of depth routing behind depth_route.h, present when its library is
// loaded.
#pragma once

#include <vector>

#include "kernels/depth_route/depth_route.h"

namespace oasis {

struct DepthRouteCuda {
  // Whether the kernels take so many sources like this one; else LibTorch's operators do the work.
  bool (*served)(const at::Tensor& source, int64_t sources);

  // As the functions of depth_route.h, with inputs already checked.
  DepthRouteForward (*forward)(const std::vector<at::Tensor>& sources,
                               const DepthRouteInputs& inputs, const DepthRouteOptions& options,
                               at::Tensor routed);
  DepthRouteGradients (*backward)(const std::vector<at::Tensor>& sources,
                                  const DepthRouteInputs& inputs, const DepthRouteOptions& options,
                                  const DepthRouteForward& forward, const at::Tensor& grad_routed,
                                  const at::Tensor& grad_weights,
                                  const std::vector<at::Tensor>& source_gradients);
  at::Tensor (*gather)(const DepthSource& source, const at::Tensor& initial);
  void (*gather_block)(const std::vector<DepthSource*>& sources);
  int64_t block_size;
};

extern const DepthRouteCuda* depth_route_cuda;  // null until the CUDA library is loaded

}  // namespace oasis
