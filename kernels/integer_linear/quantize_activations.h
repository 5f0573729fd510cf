// Codes of activations on the CPU (integer_linear.h).
#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/integer_linear/activation_grid.h"

namespace oasis {

// x float32 [M, K] contiguous, codes int8 [M, K] with rows one behind the other or padded.
void quantize_static_cpu(const at::Tensor& x, const ActivationGrid& grid, const at::Tensor& codes);

// scale float32 [M], written.
void quantize_dynamic_cpu(const at::Tensor& x, int64_t bits, const at::Tensor& codes,
                          const at::Tensor& scale);

}  // namespace oasis
