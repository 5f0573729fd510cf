// A decoder's weights as generation reads them fastest.
#pragma once

#include <ATen/core/Tensor.h>

#include "models/decoder.h"

namespace oasis {

// The same model on `device`, matrices in `type`, everything else (norm gains, biases, router
// terms) in float32, or all in float64. Matrices of one input lie next to each other in memory (q,
// k, v; gate, up), so that linears() makes one product of them.
Decoder inference_weights(const Decoder& model, at::ScalarType type, at::Device device);

}  // namespace oasis
