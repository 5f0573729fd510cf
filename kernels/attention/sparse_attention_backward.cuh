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

// A 16×16 piece of products against upper bounds that differ by column or by row: bound(n, i).
template <class Bound>
__device__ bool any_above(const float (&products)[2][4], const Bound& bound) {
  bool above = false;
#pragma unroll
  for (int n = 0; n < 2; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) above = above || !(products[n][i] <= bound(n, i));  // NaN is above
  }
  return __any_sync(kFullWarp, above);
}

}  // namespace oasis::cuda
