// Rotary embedding, with an RMSNorm of each head in front of it where there is a gain, on the GPU.
// Free of Torch.
//   n = x, or gain ∘ x · r with r = (mean_d x² + eps)^-1/2;   y = R n, R the rotation of rope.h
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/element_type.h"

namespace oasis::cuda {

// [B, H, T, d] with unit stride in d.
struct Heads {
  void* data;
  int64_t batch, head, position;  // strides in elements
};

struct Rope {
  ElementType type;
  int64_t B, H, T, d;  // B·H·T < 2^31
  Heads x, y;
  const float* cosine;   // [rows, d/2]
  const float* sine;     // [rows, d/2]
  const int64_t* first;  // [B], the row of a sequence's first position; null: 0
  int64_t rows;          // T or more; positions beyond take the last one
  float direction;       // +1 rotates, −1 rotates back
  const float* gain;     // [d], or null: no norm
  float eps;
  cudaStream_t stream;
};

// Head sizes whose halves are whole 16-byte packs, up to 32 of them, or at most 32 elements.
bool rope_serves(ElementType type, int64_t d, bool vectorized);
bool rope_is_vectorized(ElementType type, const Heads& heads);
void rope(const Rope& p);

// The gradient through the norm; without one it is the rotation back of ∂y.
struct RopeNormBackward {
  ElementType type;
  int64_t B, H, T, d;
  Heads x, grad_y, grad_x;
  const float* cosine;  // [T, d/2]
  const float* sine;    // [T, d/2]
  const float* gain;    // [d]
  float eps;
  float* partial;    // [rope_partial_rows(…), d]
  float* grad_gain;  // [d]
  cudaStream_t stream;
};

int64_t rope_partial_rows(int64_t positions);
void rope_norm_backward(const RopeNormBackward& p);

}  // namespace oasis::cuda
