// The CUDA kernels behind integer_linear.h, which describes arguments and results.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "kernels/integer_linear/activation_grid.h"
#include "kernels/integer_linear/integer_linear.h"

namespace oasis {

struct IntegerLinearCuda {
  // x contiguous [M, K]; with a grid static, else dynamic with so many bits.
  QuantizedActivations (*quantize)(const at::Tensor& x, const std::optional<ActivationGrid>& grid,
                                   int64_t bits);
  // Arguments are checked, on one device, in the layouts that integer_linear.h states; bias
  // float32.
  at::Tensor (*product)(const QuantizedActivations& x, const IntegerWeight& weight,
                        const at::Tensor& bias, at::ScalarType type);
};

extern const IntegerLinearCuda* integer_linear_cuda;  // null unless the CUDA library is loaded

}  // namespace oasis
