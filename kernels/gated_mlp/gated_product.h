// The gated product of a SwiGLU MLP (Shazeer 2020): silu(gate) ∘ up, silu(x) = x·σ(x).
//
// Operator: oasis::gated_product(Tensor gate, Tensor up) -> Tensor
// Equal shapes and types; differentiable in both. Only the inputs are kept for the gradient.
#pragma once

#include <ATen/core/Tensor.h>

namespace oasis {

at::Tensor gated_product(const at::Tensor& gate, const at::Tensor& up);

}  // namespace oasis
