// The grids of fake_quantize.h on the GPU, to the last bit as on the CPU. Free of Torch.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/element_type.h"

namespace oasis::cuda {

// largest [] becomes max|x| as the bits of a float, NaN if there is one; it must hold 0 before.
struct LargestMagnitude {
  ElementType type;
  int64_t count;
  const void* x;
  unsigned* largest;
  cudaStream_t stream;
};

void largest_magnitude(const LargestMagnitude& p);

// out = (clamp(round(x/scale) + zero, lowest, highest) − zero)·scale, or with a gradient: that of
// the values whose unclamped code lies within the bounds.
struct FakeQuantize {
  ElementType type;
  int64_t count;
  const void* x;
  const void* grad;  // or null
  void* out;
  float scale, zero, lowest, highest;
  const unsigned* largest;  // the scale is largest/highest (1 for 0) instead, if not null
  cudaStream_t stream;
};

void fake_quantize(const FakeQuantize& p);

}  // namespace oasis::cuda
