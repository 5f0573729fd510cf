// Integer linear layers on the CPU. Codes less their zero point become 16-bit integers, whose
// products two instructions add up exactly (integer_panels.h); 8-bit instructions without VNNI
// saturate.
#pragma once

#include "kernels/integer_linear/integer_linear.h"

namespace oasis {

// Arguments are checked and laid out as integer_linear.h says; bias float32, contiguous, or
// undefined. Float32 [M, N].
at::Tensor integer_product(const QuantizedActivations& x, const IntegerWeight& weight,
                           const at::Tensor& bias);

}  // namespace oasis
