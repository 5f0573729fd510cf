// The next token of each sequence on the GPU. Free of Torch. Contract: sample_token.h.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace oasis::cuda {

struct SampleToken {
  int64_t B, V;              // V < 2^31
  const float* logits;       // [B, V]
  const int64_t* streams;    // [B]
  const int64_t* positions;  // [B]
  float temperature;         // 0: the likeliest
  int64_t top_k;             // 0: all
  double top_p;              // 1: all
  uint64_t seed;
  int64_t* tokens;  // [B]
  cudaStream_t stream;
};

void sample_token(const SampleToken& p);

}  // namespace oasis::cuda
