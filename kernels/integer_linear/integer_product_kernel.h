// Integer products on the GPU (integer_linear.h). Free of Torch.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/element_type.h"

namespace oasis::cuda {

constexpr int kScaleGroup = 64;

// y [M, N] = x [M, K] · wᵀ [N, K]. Strides in bytes, multiples of 16, as are addresses.
struct IntegerProduct {
  int M, N, K;
  const std::int8_t* x;
  int x_stride;
  int zero;
  const float* x_scale;
  bool x_by_row;  // x_scale [M], else [1]
  const void* w;  // int8, or nibbles
  int w_stride;
  bool packed;
  const float* w_scale;
  bool w_by_column;          // w_scale [N], else [1]
  bool grouped;              // w_scale and sums [groups, N]
  const std::int32_t* sums;  // [N] or [groups, N]
  const float* bias;         // [N] or null
  ElementType type;          // of y: float32 or bfloat16
  void* y;
  cudaStream_t stream;
};

// Up to kFewRows rows, any weight: reads it once, as it is.
constexpr int kFewRows = 64;
void few_rows_product(const IntegerProduct& p);

// Any sizes, any weight, by products of warps.
void tiled_product(const IntegerProduct& p);

// By products of warpgroups, on compute capability 9.0; weights int8.
bool has_warpgroup_product();
void warpgroup_product(const IntegerProduct& p);

// Nibbles [N] rows of w_stride bytes to int8, rows of 2·w_stride bytes.
void unpack_nibbles(const void* packed, int N, int w_stride, std::int8_t* codes,
                    cudaStream_t stream);

}  // namespace oasis::cuda
