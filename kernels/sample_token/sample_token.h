// The next token of each sequence from its logits: the likeliest, or a draw.
//
//   x_i = logit_i / temperature
//   top_k  keeps the tokens with x_i >= the k-th largest x
//   top_p  keeps, of those, the tokens with Σ_{x_j > x_i} p_j < top_p, p the softmax over the kept:
//          the smallest set of likeliest tokens whose mass reaches top_p; equal ones stay together
//   token  = argmax over the kept of x_i − ln(−ln u_i), which draws with p's probabilities
//            (Gumbel 1954); u_i in (0, 1) by Philox from (seed, stream, position, i)
//
// Temperature 0 takes the largest logit. Equal values: the smallest id. A draw depends on a
// sequence's own logits, stream and position alone, never on what else is in the batch.
//
// Operator
//   oasis::sample_token(Tensor logits, Tensor streams, Tensor positions, float temperature=0.0,
//                       int top_k=0, float top_p=1.0, int seed=0) -> Tensor
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace oasis {

struct SamplingSpec {
  double temperature = 0.0;  // >= 0; 0: the likeliest token
  int64_t top_k = 0;         // 0: all
  double top_p = 1.0;        // (0, 1]; 1: all
  uint64_t seed = 0;
};

// logits [B, V] of any floating type (half types compute in float32); streams, positions int64 [B]
// (unread at temperature 0). Returns int64 [B], −1 where a logit is not a number.
at::Tensor sample_token(const at::Tensor& logits, const at::Tensor& streams,
                        const at::Tensor& positions, const SamplingSpec& spec);

}  // namespace oasis
