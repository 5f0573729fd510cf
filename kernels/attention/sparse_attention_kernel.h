// Launchers of causal attention under normalisers that set weights to exactly zero. Free of Torch.
//
// B batches of H query heads and Hkv key heads, T tokens of head size d ≤ 128, a multiple of 8.
// Forward: context = Σ_j p_j v_j, and what the backward pass needs per row:
//   threshold: with a = q·k, the row's weights are functions of e = a·unit − threshold:
//     sparsemax        unit = scale         p = max(e, 0)           w = 1 where e > 0
//     entmax15         unit = scale/2       p = max(e, 0)²          w = max(e, 0)
//     clipped_softmax  unit = scale·log2 e  p = clip(gain·2^e + offset, 0, 1)
//                                           w = 2^e where the clip passes
//   moment = c·Σ_j w_j v_j, c = 1/Σ w (clipped softmax: 1): its product with dO is the row term r
//   in the gradient of the scores: w·(dp − r); clipped softmax: gain·2^e·(dp where the clip passes
//   − r).
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace oasis::cuda {

enum class SparseNormalizer { kClippedSoftmax, kSparsemax, kEntmax15 };

enum class HalfType { kBFloat16, kFloat16 };

// [B,heads,T,d] with unit stride in d; every other stride and the address are multiples of 16
// bytes.
struct HeadTensor {
  void* data = nullptr;
  long long batch_stride = 0;  // in elements
  long long head_stride = 0;
  int row_stride = 0;
};

// A block of threads owns so many queries or keys, and meets the others in tiles.
constexpr int kBlockRows = 128;
constexpr int kTileRows = 64;

constexpr int blocks_of(int length) {
  return (length + kBlockRows - 1) / kBlockRows;
}
constexpr int tiles_of(int length) {
  return (length + kTileRows - 1) / kTileRows;
}

// What a block of threads may ask for, in bytes, with a flag for each of kMostFlags tiles.
constexpr int kMostFlags = 16 << 10;
constexpr int kMostSharedMemory = (129 << 10) + 2 * kMostFlags;

struct SparseAttention {
  SparseNormalizer normalizer = SparseNormalizer::kSparsemax;
  HalfType type = HalfType::kBFloat16;
  int batch = 0;
  int heads = 0;
  int kv_heads = 0;
  int length = 0;
  int head_size = 0;
  float scale = 1;   // > 0
  float gain = 1;    // clipped softmax: ζ − γ
  float offset = 0;  // clipped softmax: γ
  HeadTensor q, k, v;
  // Written by forward, read by backward.
  HeadTensor moment;            // [B,H,T,d]
  float* thresholds = nullptr;  // [B,H,T]
  // [B,H,blocks,tiles]: bit i says whether queries [16i, 16i + 16) of the block have weights in the
  // tile of keys. Not for clipped softmax, under which every key has a gradient.
  std::uint8_t* flags = nullptr;
};

void sparse_attention_forward(const SparseAttention& problem, const HeadTensor& context,
                              cudaStream_t stream);

struct SparseAttentionGradients {
  HeadTensor context;      // dL/dcontext, read
  HeadTensor q, k, v;      // written
  // [B,H,T], T rounded up to a multiple of kBlockRows, at a multiple of 16 bytes: scratch for
  // {threshold, r}.
  float2* rows = nullptr;
};

void sparse_attention_backward(const SparseAttention& problem,
                               const SparseAttentionGradients& gradients, cudaStream_t stream);

}  // namespace oasis::cuda
