// Linear layers on few rows, as when decoding: a pass over the weight is all that they cost.
#pragma once

#include <ATen/core/Tensor.h>

namespace oasis {

// float32 on the CPU, rows of the weight one behind the other, up to kThinRows rows of x.
inline constexpr int64_t kThinRows = 8;
bool thin_product_serves(const at::Tensor& x, const at::Tensor& weight);

// x·Wᵀ for x [.., in] and weight [out, in]. A row of x gives the same bits whatever rows are beside
// it and on any number of threads. Not recorded by autograd.
at::Tensor thin_product(const at::Tensor& x, const at::Tensor& weight);

}  // namespace oasis
