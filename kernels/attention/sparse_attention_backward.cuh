// The two kernels of the backward pass. Each recomputes the products it needs, so that every
// gradient is summed in registers, in the same order in every run.
#pragma once

#include "kernels/attention/sparse_attention.cuh"

namespace oasis::cuda {

struct BackwardArguments {
  SparseAttention problem;
  SparseAttentionGradients gradients;
  Weights weights;
};

inline BackwardArguments backward_arguments(const SparseAttention& problem,
                                            const SparseAttentionGradients& gradients) {
  return {problem, gradients, make_weights(problem)};
}

// dQ, and the rows' {m, θ, bound, r} for the keys' kernel.
void sparse_attention_backward_queries(const BackwardArguments& arguments, cudaStream_t stream);

// dK and dV.
void sparse_attention_backward_keys(const BackwardArguments& arguments, cudaStream_t stream);

// What product_gradient() leaves out.
template <SparseNormalizer kNormalizer>
__device__ float score_factor(const SparseAttention& problem) {
  return is_clipped<kNormalizer>() ? problem.scale * problem.gain : problem.scale;
}

}  // namespace oasis::cuda
