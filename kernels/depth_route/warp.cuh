// A warp's sums, and the normalisers over the n ≤ 64 logits of one token held by a warp. Formulas:
// kernels/normalizer/normalizer.h. The results are the same in every lane and every warp, bit for
// bit.
#pragma once

#include <cmath>

#include "kernels/depth_route/depth_route_kernel.h"

namespace oasis::cuda {

constexpr unsigned kAllLanes = 0xffffffffU;
constexpr int kWarpSize = 32;

template <typename T>
__device__ inline T warp_sum(T value) {
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) value += __shfl_xor_sync(kAllLanes, value, mask);
  return value;
}

__device__ inline float warp_max(float value) {
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) {
    value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, mask));
  }
  return value;
}

// Sums of N values over the warp at once: lane l returns the sum of values[l / (32 / N)]. Half of
// the values change hands in the first exchange, a quarter in the second, and so on.
template <int N>
__device__ inline float warp_sums(float (&values)[N]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  int mask = 16;
#pragma unroll
  for (int half = N / 2; half > 0; half /= 2) {
    const bool upper = (lane & mask) != 0;
#pragma unroll
    for (int i = 0; i < half; ++i) {
      const float kept = upper ? values[i + half] : values[i];
      const float given = upper ? values[i] : values[i + half];
      values[i] = kept + __shfl_xor_sync(kAllLanes, given, mask);
    }
    mask /= 2;
  }
  float sum = values[0];
  for (; mask > 0; mask /= 2) sum += __shfl_xor_sync(kAllLanes, sum, mask);
  return sum;
}

// A row of at most 32 · kParts floats: lane l has the entries l, l + 32, …
template <int kParts>
struct Row {
  float part[kParts] = {};

  __device__ float at(int i) const {  // i the same in all lanes
    if constexpr (kParts == 1) return __shfl_sync(kAllLanes, part[0], i);
    return i < kWarpSize ? __shfl_sync(kAllLanes, part[0], i)
                         : __shfl_sync(kAllLanes, part[kParts - 1], i - kWarpSize);
  }
};

template <typename Function, int kParts>
__device__ inline Row<kParts> map(Row<kParts> a, Function function) {
#pragma unroll
  for (int k = 0; k < kParts; ++k) a.part[k] = function(a.part[k]);
  return a;
}

template <typename Function, int kParts>
__device__ inline Row<kParts> map(Row<kParts> a, Row<kParts> b, Function function) {
#pragma unroll
  for (int k = 0; k < kParts; ++k) a.part[k] = function(a.part[k], b.part[k]);
  return a;
}

template <int kParts>
__device__ inline float row_sum(Row<kParts> a) {
  float sum = a.part[0];
#pragma unroll
  for (int k = 1; k < kParts; ++k) sum += a.part[k];
  return warp_sum(sum);
}

template <int kParts>
__device__ inline float row_max(Row<kParts> a) {
  float most = a.part[0];
#pragma unroll
  for (int k = 1; k < kParts; ++k) most = fmaxf(most, a.part[k]);
  return warp_max(most);
}

// Entries above zero.
template <int kParts>
__device__ inline int row_support(Row<kParts> a) {
  int count = 0;
#pragma unroll
  for (int k = 0; k < kParts; ++k) count += __popc(__ballot_sync(kAllLanes, a.part[k] > 0));
  return count;
}

// NaN stays, as in the comparisons of the CPU's loops.
__device__ inline float positive_part(float x) {
  return x < 0 ? 0.0F : x;
}

__device__ inline float clip_to_unit(float x) {
  return x < 0 ? 0.0F : (x > 1 ? 1.0F : x);
}

// Entries from n on are −inf in `logits`.
template <int kParts>
struct RowSoftmax {
  Row<kParts> weights;

  __device__ RowSoftmax(Row<kParts> logits, bool with_null) {
    float shift = row_max(logits);
    if (with_null) shift = fmaxf(shift, 0.0F);
    weights = map(logits, [=](float s) { return expf(s - shift); });
    const float scale = 1.0F / (row_sum(weights) + (with_null ? expf(-shift) : 0.0F));
    weights = map(weights, [=](float w) { return w * scale; });
  }
};

// Newton's method from below on a convex decreasing function; see kernels/normalizer/row.h.
template <typename Step>
__device__ inline float newton_root(Step step) {
  constexpr int kMostSteps = 64;
  float tau = -1.0F;
  bool stepped_back = false;
  for (int i = 0; i < kMostSteps; ++i) {
    const float next = step(tau);
    if (isnan(next)) return next;
    if (next == tau || (next < tau && stepped_back)) break;
    stepped_back = stepped_back || next < tau;
    tau = next;
  }
  return tau;
}

template <int kParts>
struct RowNormalizer {
  using Row = cuda::Row<kParts>;

  DepthNormalizer kind;
  float zeta, gamma;

  // Weights of clamped logits; entries from n on get 0.
  __device__ Row forward(Row logits) const {
    switch (kind) {
      case DepthNormalizer::kSoftmax:
      case DepthNormalizer::kSoftmax1:
        return RowSoftmax<kParts>(logits, kind == DepthNormalizer::kSoftmax1).weights;
      case DepthNormalizer::kClippedSoftmax: {
        const auto soft = RowSoftmax<kParts>(logits, false).weights;
        const float gain = zeta - gamma, offset = gamma;
        return map(logits, soft, [=](float s, float w) {
          return s == -INFINITY ? 0.0F : clip_to_unit(gain * w + offset);
        });
      }
      case DepthNormalizer::kSparsemax: {
        const float shift = row_max(logits);
        const float tau = newton_root([=](float t) {
          const Row distance = map(logits, [=](float s) { return s - shift - t; });
          const float sum = row_sum(map(distance, positive_part));
          return t + (sum - 1.0F) / static_cast<float>(row_support(distance));
        });
        return map(logits, [=](float s) { return positive_part(s - shift - tau); });
      }
      case DepthNormalizer::kEntmax15: {
        const float shift = row_max(logits);
        const float tau = newton_root([=](float t) {
          const Row d = map(logits, [=](float s) { return positive_part((s - shift) / 2 - t); });
          const float sum = row_sum(d);
          const float norm = sqrtf(row_sum(map(d, [](float x) { return x * x; })));
          return t + (norm - 1.0F) * norm / sum;
        });
        return map(logits, [=](float s) {
          const float root = positive_part((s - shift) / 2 - tau);
          return root * root;
        });
      }
    }
    return logits;
  }

  // ∂L/∂logits from ∂L/∂weights, which is 0 from n on.
  __device__ Row backward(Row logits, Row weights, Row grad_weights) const {
    switch (kind) {
      case DepthNormalizer::kSoftmax:
      case DepthNormalizer::kSoftmax1: {
        const float mean =
            row_sum(map(weights, grad_weights, [](float w, float g) { return w * g; }));
        return map(weights, grad_weights, [=](float w, float g) { return w * (g - mean); });
      }
      case DepthNormalizer::kClippedSoftmax: {
        const auto soft = RowSoftmax<kParts>(logits, false).weights;
        const float gain = zeta - gamma, offset = gamma;
        // Not contracted with the difference below: one source's gradient is exactly 0.
        const Row passed = map(soft, grad_weights, [=](float w, float g) {
          const float unclipped = gain * w + offset;
          return unclipped >= 0 && unclipped <= 1 ? __fmul_rn(gain, g) : 0.0F;
        });
        const float mean = row_sum(map(soft, passed, [](float w, float g) { return w * g; }));
        return map(soft, passed, [=](float w, float g) { return w * (g - mean); });
      }
      case DepthNormalizer::kSparsemax: {
        const float sum =
            row_sum(map(weights, grad_weights, [](float w, float g) { return w > 0 ? g : 0.0F; }));
        const float mean = sum / static_cast<float>(row_support(weights));
        return map(weights, grad_weights,
                   [=](float w, float g) { return w > 0 ? g - mean : 0.0F; });
      }
      case DepthNormalizer::kEntmax15: {
        const Row root = map(weights, [](float w) { return sqrtf(w); });
        const float mean =
            row_sum(map(root, grad_weights, [](float r, float g) { return r * g; })) /
            row_sum(root);
        return map(root, grad_weights, [=](float r, float g) { return r * (g - mean); });
      }
    }
    return grad_weights;
  }
};

}  // namespace oasis::cuda
