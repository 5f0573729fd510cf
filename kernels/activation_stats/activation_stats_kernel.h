// The statistics of activation_stats.h on the GPU. Free of Torch.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/element_type.h"

namespace oasis::cuda {

struct ActivationStats {
  ElementType type;
  int64_t B, T, D;
  const void* x;         // [B, T, D], contiguous
  double* per_sequence;  // [B, 5]
  double* per_token;     // [B, T, 5]
  cudaStream_t stream;
};

void activation_stats(const ActivationStats& p);

}  // namespace oasis::cuda
