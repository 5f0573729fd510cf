// The CUDA kernels behind head_gate.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <tuple>

namespace oasis {

struct HeadGateCuda {
  bool (*serves)(const at::Tensor& x, const at::Tensor& context);  // by type and sizes
  // weight and bias float32. Returns y [B,T,H·d] and the gates [B,T,H] in float32.
  std::tuple<at::Tensor, at::Tensor> (*forward)(const at::Tensor& x, const at::Tensor& weight,
                                                const at::Tensor& bias, const at::Tensor& context);
  // Returns the gradients of x, weight, bias and context.
  std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> (*backward)(const at::Tensor& grad,
                                                                         const at::Tensor& x,
                                                                         const at::Tensor& weight,
                                                                         const at::Tensor& context,
                                                                         const at::Tensor& gates);
};

extern const HeadGateCuda* head_gate_cuda;  // null unless the CUDA library is loaded

}  // namespace oasis
