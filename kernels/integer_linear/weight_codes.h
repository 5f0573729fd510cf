// Codes of weights, and the layouts that integer_linear.h states.
#pragma once

#include <ATen/core/Tensor.h>

namespace oasis {

// Rows begin at multiples of so many bytes, as the GPU's copy engine wants them.
inline constexpr int64_t kRowAlignment = 16;

// [rows, columns] of one-byte elements, uninitialized, rows padded.
at::Tensor empty_codes(int64_t rows, int64_t columns, const at::TensorOptions& options);

// The same values with rows padded, without a copy where they are already.
at::Tensor with_padded_rows(const at::Tensor& codes);

// [N, G] stored group by group; vectors contiguous.
at::Tensor by_group(const at::Tensor& x);

// Shapes and types of a weight's codes and scale.
void check_weight(const char* name, const at::Tensor& codes, const at::Tensor& scale,
                  int64_t inputs);

// Throws unless the CUDA library is loaded.
void check_cuda_kernels(const char* name);

}  // namespace oasis
