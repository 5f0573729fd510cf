// The CUDA kernel behind sample_token.h, present when its library is loaded.
#pragma once

#include "kernels/sample_token/sample_token.h"

namespace oasis {

struct SampleTokenCuda {
  // logits float32 [B, V] contiguous, streams and positions contiguous.
  at::Tensor (*sample)(const at::Tensor& logits, const at::Tensor& streams,
                       const at::Tensor& positions, const SamplingSpec& spec);
};

extern const SampleTokenCuda* sample_token_cuda;

}  // namespace oasis
