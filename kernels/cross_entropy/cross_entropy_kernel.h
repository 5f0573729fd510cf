// Cross-entropy of logits and its gradient, on the GPU. Free of Torch.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/element_type.h"

namespace oasis::cuda {

// losses [rows] = log Σ_v e^{logits_v} − logits_target, 0 for an ignored target, NaN for one
// outside [0, V). With a gradient, the logits become softmax − onehot, zeros if ignored.
struct CrossEntropy {
  ElementType type;
  int64_t rows, V;
  void* logits;            // [rows, V], contiguous
  const int64_t* targets;  // [rows]
  int64_t ignored;
  bool with_gradient;
  float* losses;  // [rows]
  cudaStream_t stream;
};

void cross_entropy(const CrossEntropy& p);

}  // namespace oasis::cuda
