// Attention of one new position per sequence over its cache, on the GPU. Free of Torch.
// Contract: decode_attention.h.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/element_type.h"

namespace oasis::cuda {

enum class DecodeNormalizer { kSoftmax, kSoftmax1, kClippedSoftmax, kSparsemax, kEntmax15 };

// Heads of one position: element (b, h, i) at b·batch + h·head + i.
struct DecodeHeads {
  const void* data;
  int64_t batch, head;
};

struct DecodeAttention {
  ElementType type;
  DecodeNormalizer normalizer;
  float zeta, gamma, scale;
  int64_t B, H, Hkv, C, d;
  DecodeHeads q, k, v;
  void* keys;  // (b, h, position, i) at b·cache_batch + h·cache_head + position·d + i
  void* values;
  int64_t cache_batch, cache_head;
  const int64_t* positions;  // [B]
  void* context;             // [B, H, d]
  float* null_posterior;     // [B, H]
  cudaStream_t stream;
};

// Head sizes of whole 16-byte packs, up to 32 of them, and caches whose scores fit in a block's
// shared memory.
bool decode_attention_serves(ElementType type, int64_t H, int64_t Hkv, int64_t C, int64_t d);
void decode_attention(const DecodeAttention& p);

}  // namespace oasis::cuda
