// What turns a library's softmax attention into Softmax1's (attention_flash.cpp), one pass over the
// rows each, on the GPU. Free of Torch.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/element_type.h"

namespace oasis::cuda {

// [B, H, T, d] with unit stride in d, 16-byte aligned rows.
struct HeadRows {
  void* data;
  int64_t batch, head, position;  // strides in elements
};

struct Softmax1Forward {
  ElementType type;  // a 16-bit one
  int64_t B, H, T, d;
  HeadRows out;           // softmax's
  HeadRows context;       // σ(lse)·out; may be `out`
  const float* lse;       // [B, H, T]
  float* null_posterior;  // [B, H, T] σ(−lse)
  float* lse1;            // [B, H, T] softplus(lse)
  cudaStream_t stream;
};

// B·H·T < 2^31.
void softmax1_forward(const Softmax1Forward& p);

// out' = context + (term/‖dO‖²)·dO with term = ρ·∂L/∂ρ. A row whose ‖dO‖² is tiny gets out' =
// (stretch, 0, …) and its dO's first element becomes term/stretch, until `softmax1_restore` puts
// the old one back.
struct Softmax1Backward {
  ElementType type;
  int64_t B, H, T, d;
  HeadRows context, grad_context;
  HeadRows out;                 // out'
  const float* null_posterior;  // [B, H, T]
  const float* grad_null;       // [B, H, T]
  float* replaced;  // [B, H, T] a replaced element's old value, kNothingReplaced elsewhere
  cudaStream_t stream;
};

void softmax1_backward(const Softmax1Backward& p);
void softmax1_restore(const Softmax1Backward& p);

}  // namespace oasis::cuda
