// The two kernels of the backward pass. Each recomputes the products it needs, so that every
// gradient is summed in registers, in the same order in every run.
#pragma once

#include "kernels/attention/sparse_attention.cuh"

namespace oasis::cuda {

struct BackwardArguments {
  SparseAttention problem;
  SparseAttentionGradients gradients;
  Weights weights;
  CUtensorMap q, k, v, context;
};

inline BackwardArguments backward_arguments(const SparseAttention& problem,
                                            const SparseAttentionGradients& gradients) {
  return {problem,
          gradients,
          make_weights(problem),
          make_tensor_map(problem.q, problem, problem.heads),
          make_tensor_map(problem.k, problem, problem.kv_heads),
          make_tensor_map(problem.v, problem, problem.kv_heads),
          make_tensor_map(gradients.context, problem, problem.heads)};
}

// dQ, and the rows' {m, θ, bound, r} for the keys' kernel.
void sparse_attention_backward_queries(const BackwardArguments& arguments, cudaStream_t stream);

// dK and dV.
void sparse_attention_backward_keys(const BackwardArguments& arguments, cudaStream_t stream);

__device__ inline float2* rows_of_head(const BackwardArguments& arguments, long long head_index) {
  return arguments.gradients.rows + head_index * blocks_of(arguments.problem.length) * kBlockRows;
}

// What product_gradient() leaves out.
template <SparseNormalizer kNormalizer>
__device__ float score_factor(const SparseAttention& problem) {
  return is_clipped<kNormalizer>() ? problem.scale * problem.gain : problem.scale;
}

}  // namespace oasis::cuda
