// The gated product of a SwiGLU MLP (Shazeer 2020): silu(gate) ∘ up, silu(x) = x·σ(x).
//
// Operators: oasis::gated_product(Tensor gate, Tensor up) -> Tensor
//            oasis::gated_product.halves(Tensor gate_up) -> Tensor
// Equal shapes and types; differentiable in both. Only the inputs are kept for the gradient.
#pragma once

#include <ATen/core/Tensor.h>

namespace oasis {

at::Tensor gated_product(const at::Tensor& gate, const at::Tensor& up);

// gate_up [..., 2·I] holds gate and then up, as one projection gives them. On the GPU neither half
// is copied, and both gradients are written into one buffer.
at::Tensor gated_product(const at::Tensor& gate_up);

}  // namespace oasis
