// Integer linear layers by the definition in integer_linear.h, one number after the other.
#pragma once

#include "kernels/integer_linear/integer_linear.h"

namespace oasis::reference {

// On the CPU; sums in int64, which nothing overflows.
at::Tensor integer_linear(const QuantizedActivations& x, const IntegerWeight& weight,
                          const at::Tensor& bias, at::ScalarType type);

}  // namespace oasis::reference
