// Codes of activations on the GPU (integer_linear.h), to the last bit as on the CPU. Free of Torch.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/element_type.h"
#include "kernels/integer_linear/activation_grid.h"

namespace oasis::cuda {

struct QuantizeActivations {
  ElementType type;
  int rows, columns;
  const void* x;  // [rows, columns], contiguous
  ActivationGrid grid;
  bool dynamic;  // the scale and so the codes of each row by its largest value; no zero, no shift
  std::int8_t* codes;
  int stride;    // of a row of codes, a multiple of 16
  float* scale;  // [rows] or, static, [1], written
  cudaStream_t stream;
};

void quantize_activations(const QuantizeActivations& p);

}  // namespace oasis::cuda
