// The CUDA kernels behind rope.h. x [B, H, T, d]; cosine, sine [T, d/2] and gain [d] are float32
// and contiguous.
#pragma once

#include <ATen/core/Tensor.h>

#include <tuple>

namespace oasis {

struct RopeCuda {
  bool (*serves)(const at::Tensor& x);  // by its type and head size
  // Rotates (direction +1) or rotates back (−1), behind a norm where `gain` is defined. The result
  // keeps the order of x's dimensions in memory. `first` int64 [B]: each sequence's first row of
  // cosine and sine, which then hold rows for all positions; undefined: zeros.
  at::Tensor (*rotate)(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine,
                       int direction, const at::Tensor& gain, double eps, const at::Tensor& first);
  // The gradients of x and of the gain.
  std::tuple<at::Tensor, at::Tensor> (*norm_backward)(const at::Tensor& grad_y, const at::Tensor& x,
                                                      const at::Tensor& cosine,
                                                      const at::Tensor& sine,
                                                      const at::Tensor& gain, double eps);
};

extern const RopeCuda* rope_cuda;  // null unless the CUDA library is loaded

}  // namespace oasis
