#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/cuda/device.h"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/decode_attention/decode_attention_kernel.h"

namespace oasis::cuda {
namespace {

// A block has up to kMostHeads query heads that share a key head: it reads the keys once, keeps the
// scores of all of its heads in shared memory, normalizes them, and reads the values once.
constexpr int kBlock = 256;
constexpr int kWarps = kBlock / 32;
constexpr int kMostHeads = 4;
constexpr int kMostNewtonSteps = 32;
constexpr int64_t kMostShared = 200 << 10;  // bytes; Hopper and Ampere have them

__device__ inline float warp_max(float x) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, offset));
  }
  return x;
}

__device__ inline float positive_part(float x) {
  return x < 0 ? 0.0f : x;  // NaN stays
}

// A row of n scores becomes its weights; one warp. Returns the null posterior. The threshold of
// sparsemax and 1.5-entmax is found as in normalizer/row.h: Newton's steps from below, with one
// step back for what rounding overshot.
__device__ inline float normalize_row(const DecodeAttention& p, float* row, int n) {
  const int lane = threadIdx.x % 32;
  float largest = -INFINITY;
  for (int j = lane; j < n; j += 32) largest = fmaxf(largest, row[j]);
  float shift = warp_max(largest);
  if (p.normalizer == DecodeNormalizer::kSparsemax || p.normalizer == DecodeNormalizer::kEntmax15) {
    const bool squares = p.normalizer == DecodeNormalizer::kEntmax15;
    const float unit = squares ? 0.5f : 1.0f;
    float tau = -1;
    bool stepped_back = false;
    for (int i = 0; i < kMostNewtonSteps; ++i) {
      float first = 0, second = 0;  // Σ e and Σ 1, or Σ e²
      for (int j = lane; j < n; j += 32) {
        const float e = positive_part((row[j] - shift) * unit - tau);
        first += e;
        second += squares ? e * e : (e > 0 ? 1.0f : 0.0f);
      }
      first = warp_sum(first);
      second = warp_sum(second);
      const float norm = sqrtf(second);
      const float next = tau + (squares ? (norm - 1) * norm / first : (first - 1) / second);
      if (isnan(next)) {
        tau = next;
        break;
      }
      if (next == tau || (next < tau && stepped_back)) break;
      stepped_back = stepped_back || next < tau;
      tau = next;
    }
    for (int j = lane; j < n; j += 32) {
      const float e = positive_part((row[j] - shift) * unit - tau);
      row[j] = squares ? e * e : e;
    }
    return 0;
  }
  const bool with_null = p.normalizer == DecodeNormalizer::kSoftmax1;
  if (with_null && !(shift > 0)) shift = 0;
  const float null = with_null ? expf(-shift) : 0.0f;
  float sum = 0;
  for (int j = lane; j < n; j += 32) {
    const float e = expf(row[j] - shift);
    row[j] = e;
    sum += e;
  }
  const float factor = 1 / (warp_sum(sum) + null);
  const bool clipped = p.normalizer == DecodeNormalizer::kClippedSoftmax;
  const float gain = clipped ? p.zeta - p.gamma : 1.0f;
  for (int j = lane; j < n; j += 32) {
    float weight = row[j] * factor;
    if (clipped) {
      weight = gain * weight + p.gamma;
      weight = weight < 0 ? 0.0f : (weight > 1 ? 1.0f : weight);
    }
    row[j] = weight;
  }
  return null * factor;
}

// `lanes` threads (a power of two) share a position, a pack of it each.
template <class T, int kHeads>
__global__ void __launch_bounds__(kBlock)
    decode_attention_kernel(const __grid_constant__ DecodeAttention p, int lanes, int parts) {
  constexpr int kPack = 16 / sizeof(T);
  constexpr int kTogether = 4;  // positions that a thread has on their way at a time
  extern __shared__ float shared[];
  const int b = blockIdx.y, kv_head = blockIdx.x / parts, part = blockIdx.x % parts;
  const int group = static_cast<int>(p.H / p.Hkv), d = static_cast<int>(p.d);
  const int first_head = kv_head * group + part * kHeads;
  const int heads = min(kHeads, group - part * kHeads);
  const int position = static_cast<int>(min(max(p.positions[b], int64_t{0}), p.C - 1)),
            n = position + 1;
  const int row_length = static_cast<int>(p.C);
  T* keys = static_cast<T*>(p.keys) + b * p.cache_batch + kv_head * p.cache_head;
  T* values = static_cast<T*>(p.values) + b * p.cache_batch + kv_head * p.cache_head;
  {
    // Every part writes the same, so that none waits for another.
    const T* k = static_cast<const T*>(p.k.data) + b * p.k.batch + kv_head * p.k.head;
    const T* v = static_cast<const T*>(p.v.data) + b * p.v.batch + kv_head * p.v.head;
    for (int i = threadIdx.x; i < d; i += kBlock) {
      keys[int64_t{position} * d + i] = k[i];
      values[int64_t{position} * d + i] = v[i];
    }
  }
  const int column = static_cast<int>(threadIdx.x) % lanes * kPack;
  const int own = static_cast<int>(threadIdx.x) / lanes, stride = kBlock / lanes;
  const bool works = column < d;
  float q[kHeads][kPack] = {};
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
    if (h < heads && works) {
      const T* row =
          static_cast<const T*>(p.q.data) + b * p.q.batch + (first_head + h) * p.q.head + column;
#pragma unroll
      for (int i = 0; i < kPack; ++i) q[h][i] = to_float(row[i]) * p.scale;
    }
  }
  __syncthreads();

  // All threads of a warp make the same number of rounds: its lanes sum together.
  for (int base = 0; base < n; base += stride * kTogether) {
    Pack<T, kPack> rows[kTogether] = {};
#pragma unroll
    for (int i = 0; i < kTogether; ++i) {
      const int j = base + i * stride + own;
      if (works && j < n) rows[i] = load_pack<kPack>(keys + int64_t{j} * d + column);
    }
#pragma unroll
    for (int i = 0; i < kTogether; ++i) {
      const int j = base + i * stride + own;
      float key[kPack];
      unpack(rows[i], key);
#pragma unroll
      for (int h = 0; h < kHeads; ++h) {
        float product = 0;
#pragma unroll
        for (int c = 0; c < kPack; ++c) product += q[h][c] * key[c];
        for (int offset = lanes / 2; offset > 0; offset /= 2) {
          product += __shfl_xor_sync(0xffffffffu, product, offset);
        }
        if (column == 0 && j < n) shared[h * row_length + j] = product;
      }
    }
  }
  __syncthreads();

  const int warp = threadIdx.x / 32;
  if (warp < heads) {
    const float null = normalize_row(p, shared + warp * row_length, n);
    if (threadIdx.x % 32 == 0) p.null_posterior[b * p.H + first_head + warp] = null;
  }
  __syncthreads();

  float sums[kHeads][kPack] = {};
  for (int base = own; base < n; base += stride * kTogether) {
    Pack<T, kPack> rows[kTogether] = {};
#pragma unroll
    for (int i = 0; i < kTogether; ++i) {
      const int j = base + i * stride;
      if (works && j < n) rows[i] = load_pack<kPack>(values + int64_t{j} * d + column);
    }
#pragma unroll
    for (int i = 0; i < kTogether; ++i) {
      const int j = base + i * stride;
      if (j >= n) break;
      float value[kPack];
      unpack(rows[i], value);
#pragma unroll
      for (int h = 0; h < kHeads; ++h) {
        if (h >= heads) break;
        const float weight = shared[h * row_length + j];
#pragma unroll
        for (int c = 0; c < kPack; ++c) sums[h][c] += weight * value[c];
      }
    }
  }
  // Over the groups of a warp, then over the warps.
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
#pragma unroll
    for (int c = 0; c < kPack; ++c) {
      for (int offset = 16; offset >= lanes; offset /= 2) {
        sums[h][c] += __shfl_xor_sync(0xffffffffu, sums[h][c], offset);
      }
    }
  }
  __syncthreads();  // the weights are read; their place takes the warps' sums, [kWarps, kHeads, d]
  if (static_cast<int>(threadIdx.x) % 32 < lanes && works) {
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
#pragma unroll
      for (int c = 0; c < kPack; ++c) shared[(warp * kHeads + h) * d + column + c] = sums[h][c];
    }
  }
  __syncthreads();
  T* context = static_cast<T*>(p.context) + (b * p.H + first_head) * d;
  for (int i = threadIdx.x; i < heads * d; i += kBlock) {
    float sum = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) sum += shared[w * kHeads * d + i];
    context[i] = from_float<T>(sum);
  }
}

int heads_of_block(int64_t H, int64_t Hkv) {
  const int64_t group = H / Hkv;
  const int64_t parts = (group + kMostHeads - 1) / kMostHeads;
  return static_cast<int>((group + parts - 1) / parts);
}

int64_t shared_bytes(int heads, int64_t C, int64_t d) {
  return 4 * heads * std::max<int64_t>(C, kWarps * d);
}

template <class T, int kHeads>
void launch(const DecodeAttention& p) {
  auto* kernel = decode_attention_kernel<T, kHeads>;
  const auto bytes = shared_bytes(kHeads, p.C, p.d);
  if (bytes > 48 << 10) {
    check(
        cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                             cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
        "decode_attention");
  }
  const int lanes = static_cast<int>(
      std::bit_ceil(static_cast<unsigned>(p.d) / static_cast<unsigned>(16 / sizeof(T))));
  const int parts = static_cast<int>((p.H / p.Hkv + kHeads - 1) / kHeads);
  const dim3 grid(static_cast<unsigned>(p.Hkv) * static_cast<unsigned>(parts),
                  static_cast<unsigned>(p.B));
  kernel<<<grid, kBlock, static_cast<size_t>(bytes), p.stream>>>(p, lanes, parts);
}

}  // namespace

bool decode_attention_serves(ElementType type, int64_t H, int64_t Hkv, int64_t C, int64_t d) {
  const int pack = 16 / size_of(type);
  return d % pack == 0 && d <= 32 * pack &&
         shared_bytes(heads_of_block(H, Hkv), C, d) <= kMostShared;
}

void decode_attention(const DecodeAttention& p) {
  dispatch_element(p.type, [&]<class T>() {
    switch (heads_of_block(p.H, p.Hkv)) {
      case 1:
        return launch<T, 1>(p);
      case 2:
        return launch<T, 2>(p);
      case 3:
        return launch<T, 3>(p);
      default:
        return launch<T, 4>(p);
    }
  });
  check_launch("decode_attention");
}

}  // namespace oasis::cuda
