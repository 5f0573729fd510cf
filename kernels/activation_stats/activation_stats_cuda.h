// The CUDA kernel behind activation_stats.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <tuple>

namespace oasis {

struct ActivationStatsCuda {
  // x [B,T,D] contiguous, float32 or a 16-bit type.
  std::tuple<at::Tensor, at::Tensor> (*run)(const at::Tensor& x);
};

extern const ActivationStatsCuda* activation_stats_cuda;  // null unless the CUDA library is loaded

}  // namespace oasis
