// out = a + x·Wᵀ: a residual addition inside the product's epilogue.
#pragma once

#include <ATen/core/Tensor.h>

namespace oasis {

// a, out [M, N], x [M, K], weight [N, K], all of one type and device; out may not overlap a.
// Throws c10::Error where shapes or types do not fit. Not recorded by autograd.
void add_product(at::Tensor& out, const at::Tensor& a, const at::Tensor& x,
                 const at::Tensor& weight);

// bfloat16 and float16 matrices with contiguous rows; false where cuBLASLt has no algorithm for
// them, with nothing written. Null unless the CUDA library is loaded.
using AddProductCuda = bool (*)(at::Tensor& out, const at::Tensor& a, const at::Tensor& x,
                                const at::Tensor& weight);
extern AddProductCuda add_product_cuda;

}  // namespace oasis
