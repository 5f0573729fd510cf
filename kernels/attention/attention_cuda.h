// Clipped softmax, sparsemax and 1.5-entmax attention by our own CUDA kernels, in the half types.
// They live in the CUDA library, which is loaded when a GPU is asked for.
#pragma once

#include "kernels/attention/attention_paths.h"

namespace oasis::attention_paths {

struct SparseAttentionCuda {
  // Whether the kernels serve the problem.
  bool (*serves)(const Problem& problem);
  Forward (*forward)(const Problem& problem);
  Gradients (*backward)(const Problem& problem, const std::vector<at::Tensor>& saved,
                        const at::Tensor& grad_context);
};

extern const SparseAttentionCuda* sparse_attention_cuda;  // null until the CUDA library is loaded

}  // namespace oasis::attention_paths
