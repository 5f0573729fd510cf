// Rotary embedding as plain loops in float64: the contract of rope.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace oasis::reference {

// x [B, H, T, d] of any floating type and strides; the result is float64.
at::Tensor rope(const at::Tensor& x, double theta, int64_t offset,
                const std::vector<double>& divisors = {}, double magnitude = 1.0);

// The gradient of x: a rotation's transpose is the rotation back.
at::Tensor rope_backward(const at::Tensor& grad_y, double theta, int64_t offset,
                         const std::vector<double>& divisors = {}, double magnitude = 1.0);

}  // namespace oasis::reference
