// The CUDA kernel behind decode_attention.h. It lives in the CUDA library, which is loaded when a
// GPU is asked for.
#pragma once

#include <ATen/core/Tensor.h>

#include <tuple>

#include "kernels/normalizer/normalizer.h"

namespace oasis {

struct DecodeAttentionCuda {
  // By type, head size and the length of the cache.
  bool (*serves)(const at::Tensor& q, const at::Tensor& keys);
  // As decode_attention, its inputs checked.
  std::tuple<at::Tensor, at::Tensor> (*attend)(const at::Tensor& q, const at::Tensor& k,
                                               const at::Tensor& v, const at::Tensor& keys,
                                               const at::Tensor& values,
                                               const at::Tensor& positions,
                                               const NormalizerSpec& spec, double scale);
};

extern const DecodeAttentionCuda* decode_attention_cuda;  // null until the library is loaded

}  // namespace oasis
