// The CUDA kernels that make Softmax1 of a library's softmax attention (attention_flash.cpp).
// Heads are [B,H,T,d] of a 16-bit type, d a multiple of 8; statistics [B,H,T] float32, contiguous.
#pragma once

#include <ATen/core/Tensor.h>

#include <tuple>

namespace oasis {

struct Softmax1Cuda {
  // softmax's output and log-sum-exp -> context (in the place of `out` if that is laid out as
  // attention.h promises), null posterior ρ, log(1 + Σ e^s).
  std::tuple<at::Tensor, at::Tensor, at::Tensor> (*forward)(const at::Tensor& out,
                                                            const at::Tensor& lse);
  // The out' that carries ∂L/∂ρ, laid out as grad_context. Rows of grad_context that are too small
  // to carry anything are changed; `restore`, given the second result, puts them back.
  std::tuple<at::Tensor, at::Tensor> (*backward)(const at::Tensor& context,
                                                 const at::Tensor& null_posterior,
                                                 const at::Tensor& grad_context,
                                                 const at::Tensor& grad_null);
  void (*restore)(const at::Tensor& grad_context, const at::Tensor& replaced);
};

extern const Softmax1Cuda* softmax1_cuda;  // null unless the CUDA library is loaded

}  // namespace oasis
