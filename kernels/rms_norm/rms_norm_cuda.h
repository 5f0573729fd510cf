// The CUDA kernels behind rms_norm.h. Rows are [M, D] and contiguous.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <tuple>

namespace oasis {

struct RmsNormCuda {
  bool (*serves)(const at::Tensor& x);  // by its type and width
  // weight float32; h = x + branch, undefined without a branch. Returns h, y, inverse_rms.
  std::tuple<at::Tensor, at::Tensor, at::Tensor> (*forward)(const at::Tensor& x,
                                                            const std::optional<at::Tensor>& branch,
                                                            const at::Tensor& weight, double eps);
  // grad_h may be undefined. Returns the gradients of h (and of x and branch) and of the weight.
  std::tuple<at::Tensor, at::Tensor> (*backward)(const at::Tensor& grad_y, const at::Tensor& grad_h,
                                                 const at::Tensor& h, const at::Tensor& weight,
                                                 const at::Tensor& inverse_rms);
};

extern const RmsNormCuda* rms_norm_cuda;  // null unless the CUDA library is loaded

}  // namespace oasis
