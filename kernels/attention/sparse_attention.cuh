// The weights of the three normalisers, for the forward and the backward kernels.
#pragma once

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "kernels/attention/tile_stream.cuh"

namespace oasis::cuda {

// Unlike fmaxf, NaN if either is.
__device__ inline float max_or_nan(float a, float b) {
  float larger;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(larger) : "f"(a), "f"(b));
  return larger;
}

__device__ inline float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// The weights of a product a = q·k: e = a·unit − threshold. Products are −inf where a query may not
// see a key.
struct Weights {
  float unit;      // of e per product
  float gain;      // clipped softmax
  float offset;    // clipped softmax
  float smallest;  // below this e there is neither a weight nor a gradient into it
};

struct Weight {
  float p;  // of the value
  float w;  // of the gradient into p
  float s;  // of the row term; w but for clipped softmax
};

template <SparseNormalizer kNormalizer>
__host__ __device__ constexpr bool is_clipped() {
  return kNormalizer == SparseNormalizer::kClippedSoftmax;
}

// Clamped to [0, 1], NaN to 0.
__device__ inline float saturated_fma(float a, float b, float c) {
  float clamped;
  asm("fma.rn.sat.f32 %0, %1, %2, %3;" : "=f"(clamped) : "f"(a), "f"(b), "f"(c));
  return clamped;
}

// 1 for any e > 0 that a difference of thresholds and products may be.
__device__ inline float one_if_positive(float e) {
  return saturated_fma(e, 0x1p100f, 0);
}

// In a row whose threshold is NaN the weights may be zero: what is made of them has to add NaN.
template <SparseNormalizer kNormalizer>
__device__ Weight weight_of(const Weights& weights, float product, float threshold) {
  if constexpr (is_clipped<kNormalizer>()) {
    const float e = fmaf(product, weights.unit, -threshold);
    const float soft = exp2_fast(e);
    const float unclipped = fmaf(weights.gain, soft, weights.offset);
    const float p = saturated_fma(weights.gain, soft, weights.offset);
    return {e == -INFINITY ? 0.0f : p, p == unclipped ? soft : 0.0f, soft};
  } else {
    const float e = saturated_fma(product, weights.unit, -threshold);
    if constexpr (kNormalizer == SparseNormalizer::kSparsemax) return {e, one_if_positive(e), 0};
    return {e * e, e, 0};
  }
}

// Newton's step towards Σ p = 1 from Σ p and Σ w; from any threshold it ends at or below the root
// (normalizer/row.h).
template <SparseNormalizer kNormalizer>
__device__ float newton_step(float mass, float weight) {
  if constexpr (kNormalizer == SparseNormalizer::kEntmax15) {
    const float norm = sqrtf(mass);
    return (norm - 1) * norm / weight;
  } else {
    return (mass - 1) / weight;
  }
}

// Gradient into a product, over the scale, and over the gain for clipped softmax.
template <SparseNormalizer kNormalizer>
__device__ float product_gradient(const Weight& weight, float dp, float r) {
  if constexpr (is_clipped<kNormalizer>()) return fmaf(weight.w, dp, -weight.s * r);
  return weight.w * (dp - r);
}

// Hides products, whose first row and column have these indices, where hidden(row, column).
template <class Hidden>
__device__ void hide_products(Products& products, int row, int column, const Hidden& hidden) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int n = 0; n < kTileColumns; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (hidden(row + 8 * (i / 2) + lane / 4, column + 8 * n + 2 * (lane % 4) + i % 2)) {
        products[n][i] = -INFINITY;
      }
    }
  }
}

inline Weights make_weights(const SparseAttention& problem) {
  if (problem.normalizer == SparseNormalizer::kClippedSoftmax) {
    const float unit = problem.scale * 1.44269504f;
    const float smallest =
        problem.offset < 0 ? std::log2(-problem.offset / problem.gain) : -INFINITY;
    return {unit, problem.gain, problem.offset, smallest};
  }
  const bool halved = problem.normalizer == SparseNormalizer::kEntmax15;
  const float unit = halved ? problem.scale / 2 : problem.scale;
  return {unit, 1, 0, 0};
}

// Where the flags of a block of queries begin.
__device__ inline std::uint8_t* block_flags(const SparseAttention& problem, int batch, int head,
                                            int block) {
  const auto head_index = static_cast<long long>(batch) * problem.heads + head;
  return problem.flags +
         (head_index * blocks_of(problem.length) + block) * tiles_of(problem.length);
}

// Chooses the instantiation: call(T{}, std::integral_constant<int, 64 or 128>, and of the
// normaliser).
template <class Call>
void with_instantiation(const SparseAttention& problem, const Call& call) {
  const auto with_type = [&](auto size) {
    const auto with_normalizer = [&](auto type) {
      switch (problem.normalizer) {
        case SparseNormalizer::kClippedSoftmax:
          return call(
              type, size,
              std::integral_constant<SparseNormalizer, SparseNormalizer::kClippedSoftmax>{});
        case SparseNormalizer::kSparsemax:
          return call(type, size,
                      std::integral_constant<SparseNormalizer, SparseNormalizer::kSparsemax>{});
        case SparseNormalizer::kEntmax15:
          return call(type, size,
                      std::integral_constant<SparseNormalizer, SparseNormalizer::kEntmax15>{});
      }
    };
    return problem.type == HalfType::kBFloat16 ? with_normalizer(__nv_bfloat16{})
                                               : with_normalizer(__half{});
  };
  return problem.head_size <= 64 ? with_type(std::integral_constant<int, 64>{})
                                 : with_type(std::integral_constant<int, 128>{});
}

}  // namespace oasis::cuda
