// Gates of attention heads and their gradient, on the GPU: one pass each. Free of Torch. Formulas
// in head_gate.h and head_gate.cpp.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/element_type.h"

namespace oasis::cuda {

// Slices and heads are multiples of 8 elements, up to this many. Everything starts at multiples of
// 16 bytes.
inline constexpr int64_t kHeadGateLargest = 256;

struct HeadGate {
  ElementType type;
  int64_t B, T, H;
  int64_t slice, d;               // elements of a head in x and in the context
  const void* x;                  // [B, T, H·slice]
  const float* weight;            // [H, slice]
  const void* context;            // [B, H, T, d] with unit stride in d
  int64_t batch, head, position;  // strides of the context, in elements
  float* gates;                   // [B, T, H]
  cudaStream_t stream;
};

struct HeadGateForward : HeadGate {
  const float* bias;  // [H]
  void* y;            // [B, T, H·d]
};

void head_gate_forward(const HeadGateForward& p);

struct HeadGateBackward : HeadGate {
  const void* grad_y;  // [B, T, H·d]
  void* grad_x;        // [B, T, H·slice]
  void* grad_context;  // [B, T, H, d]
  float* partial;      // [head_gate_partial_rows(p), H·slice + H]
  float* sums;         // [H·slice + H], the gradients of weight and bias
};

int64_t head_gate_partial_rows(const HeadGate& p);
void head_gate_backward(const HeadGateBackward& p);

}  // namespace oasis::cuda
