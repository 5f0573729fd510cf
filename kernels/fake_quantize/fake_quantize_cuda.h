// The CUDA kernels behind fake_quantize.h. Tensors are contiguous, float32 or a 16-bit type.
#pragma once

#include <ATen/core/Tensor.h>

namespace oasis {

// x̂ = (clamp(round(x/scale) + zero, lowest, highest) − zero)·scale
struct FakeQuantizeGrid {
  double scale = 1;
  double zero = 0;
  double lowest = 0;
  double highest = 0;
};

struct FakeQuantizeCuda {
  // [1] int32: the bits of max|x| as a float, which stay on the device.
  at::Tensor (*largest_magnitude)(const at::Tensor& x);
  // Quantizes x, or with `grad` defined passes on the gradient of what lies within the grid. With
  // `largest` defined it gives the scale, largest/highest.
  at::Tensor (*run)(const at::Tensor& x, const at::Tensor& grad, const FakeQuantizeGrid& grid,
                    const at::Tensor& largest);
};

extern const FakeQuantizeCuda* fake_quantize_cuda;  // null unless the CUDA library is loaded

}  // namespace oasis
