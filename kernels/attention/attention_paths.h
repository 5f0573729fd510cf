// The ways to compute attention; attention.cpp chooses. Inputs are checked; q, k, v share a type.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <vector>

#include "kernels/normalizer/normalizer.h"

namespace oasis::attention_paths {

struct Problem {
  at::Tensor q;  // [B,H,T,d]
  at::Tensor k;  // [B,Hkv,T,d]
  at::Tensor v;  // [B,Hkv,T,d]
  NormalizerSpec spec;
  double scale = 1.0;
};

struct Forward {
  at::Tensor context;         // [B,H,T,d]
  at::Tensor null_posterior;  // [B,H,T]
  // What the path's own backward needs besides q, k, v: everything is linear in T.
  std::vector<at::Tensor> saved;
};

struct Gradients {
  at::Tensor q;
  at::Tensor k;
  at::Tensor v;
};

// [B,T,heads,d] in memory, seen as [B,heads,T,d]; otherwise as `like`, which is [B,·,T,d].
inline at::Tensor empty_heads(const at::Tensor& like, std::int64_t heads) {
  return at::empty({like.size(0), like.size(2), heads, like.size(3)}, like.options())
      .transpose(1, 2);
}

// softmax and Softmax1 from the libraries' fused kernels: on CUDA in the half types; on the CPU,
// where it is checked against the others, in float32 and float64.
bool flash_serves(const Problem& problem);
Forward flash_forward(const Problem& problem);
Gradients flash_backward(const Problem& problem, const std::vector<at::Tensor>& saved,
                         const at::Tensor& grad_context, const at::Tensor& grad_null);

// Every normaliser on the CPU in float32 and float64: query tiles against the keys up to the
// diagonal, the row kernels of normalizer/row.h in place.
Forward tiled_forward(const Problem& problem);
Gradients tiled_backward(const Problem& problem, const std::vector<at::Tensor>& saved,
                         const at::Tensor& grad_context, const at::Tensor& grad_null);

// Every normaliser on every device in float32 and float64: the same tiles as compositions of
// LibTorch operators.
Forward composed_forward(const Problem& problem);
Gradients composed_backward(const Problem& problem, const std::vector<at::Tensor>& saved,
                            const at::Tensor& grad_context, const at::Tensor& grad_null);

}  // namespace oasis::attention_paths
