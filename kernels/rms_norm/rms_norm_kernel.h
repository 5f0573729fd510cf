// RMSNorm with an optional residual add, on the GPU. Free of Torch. Rows are contiguous, all of one
// type; statistics and weights are float32.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/element_type.h"

namespace oasis::cuda {

inline constexpr int64_t kRmsNormLargestWidth = 8192;

// h = x + branch (h = x without one);  inverse_rms = (mean h² + eps)^-1/2;  y = w ∘ h · inverse_rms
struct RmsNormForward {
  ElementType type;
  int64_t rows, D;
  const void* x;        // [rows, D]
  const void* branch;   // [rows, D], or null
  const float* weight;  // [D]
  float eps;
  void* h;             // [rows, D]; null without a branch
  void* y;             // [rows, D]
  float* inverse_rms;  // [rows]
  cudaStream_t stream;
};

void rms_norm_forward(const RmsNormForward& p);

// ∂x = r·(w∘∂y) − h·r³/D·Σ(w∘∂y∘h) + ∂h;  ∂w = Σ_rows ∂y∘h·r
struct RmsNormBackward {
  ElementType type;
  int64_t rows, D;
  const void* grad_y;        // [rows, D]
  const void* grad_h;        // [rows, D], or null
  const void* h;             // [rows, D]
  const float* weight;       // [D]
  const float* inverse_rms;  // [rows]
  void* grad_x;              // [rows, D]
  float* partial;            // [rms_norm_partial_rows(rows, D), D]
  float* grad_weight;        // [D]
  cudaStream_t stream;
};

int64_t rms_norm_partial_rows(int64_t rows, int64_t D);
void rms_norm_backward(const RmsNormBackward& p);

}  // namespace oasis::cuda
