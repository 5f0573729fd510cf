// The weights of the three normalisers, for the forward and the backward kernels.
#pragma once

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "kernels/attention/attention_tiles.cuh"

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

// The weights of a product a = q·k in a row with statistics {m, θ}: e = (a − m)·unit − θ. Products
// are −inf where a query may not see a key.
struct Weights {
  float unit;      // of e per product
  float per_unit;  // and its inverse
  float gain;      // clipped softmax
  float offset;    // clipped softmax
  float smallest;  // below this e there is neither a weight nor a gradient into it
};

struct Weight {
  float p;  // of the value
  float w;  // of the gradient into p
};

template <SparseNormalizer kNormalizer>
__host__ __device__ constexpr bool is_clipped() {
  return kNormalizer == SparseNormalizer::kClippedSoftmax;
}

// No product at or below it has a weight. Rounded down, so that e decides at the edge.
template <SparseNormalizer kNormalizer>
__device__ float smallest_product(const Weights& weights, float shift, float threshold) {
  const float margin = is_clipped<kNormalizer>() ? 1e-4f : 1e-6f;
  return shift + (threshold + weights.smallest - margin) * weights.per_unit -
         2.4e-7f * fabsf(shift);
}

__device__ inline float distance(const Weights& weights, float product, float shift,
                                 float threshold) {
  return fmaf(product - shift, weights.unit, -threshold);
}

template <SparseNormalizer kNormalizer>
__device__ Weight weight_at(const Weights& weights, float e) {
  if constexpr (kNormalizer == SparseNormalizer::kSparsemax) {
    return {max_or_nan(e, 0), e > 0 ? 1.0f : 0.0f};
  } else if constexpr (kNormalizer == SparseNormalizer::kEntmax15) {
    const float root = max_or_nan(e, 0);
    return {root * root, root};
  } else {
    const float soft = exp2_fast(e);
    const float unclipped = fmaf(weights.gain, soft, weights.offset);
    const bool passes = unclipped >= 0 && unclipped <= 1;
    const float p = unclipped > 1 ? 1.0f : max_or_nan(unclipped, 0);
    return {e == -INFINITY ? 0.0f : p, passes ? soft : 0.0f};
  }
}

// Gradient into a product, over the scale, and over the gain for clipped softmax.
template <SparseNormalizer kNormalizer>
__device__ float product_gradient(float e, float w, float dp, float r) {
  if constexpr (is_clipped<kNormalizer>()) {
    return fmaf(w, dp, -exp2_fast(e) * r);
  } else {
    return w * (dp - r);
  }
}

// Hides products, whose first row and column have these indices, where hidden(row, column).
template <int kColumns, class Hidden>
__device__ void hide_products(float (&products)[kColumns][4], int row, int column,
                              const Hidden& hidden) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int n = 0; n < kColumns; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (hidden(row + 8 * (i / 2) + lane / 4, column + 8 * n + 2 * (lane % 4) + i % 2)) {
        products[n][i] = -INFINITY;
      }
    }
  }
}

// A 16×16 piece of products against upper bounds that differ by column or by row: bound(n, i).
template <class Bound>
__device__ bool any_above(const float (&products)[2][4], const Bound& bound) {
  bool above = false;
#pragma unroll
  for (int n = 0; n < 2; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) above = above || !(products[n][i] <= bound(n, i));  // NaN is above
  }
  return __any_sync(kFullWarp, above);
}

inline Weights make_weights(const SparseAttention& problem) {
  if (problem.normalizer == SparseNormalizer::kClippedSoftmax) {
    const float unit = problem.scale * 1.44269504f;
    const float smallest =
        problem.offset < 0 ? std::log2(-problem.offset / problem.gain) : -INFINITY;
    return {unit, 1 / unit, problem.gain, problem.offset, smallest};
  }
  const bool halved = problem.normalizer == SparseNormalizer::kEntmax15;
  const float unit = halved ? problem.scale / 2 : problem.scale;
  return {unit, 1 / unit, 1, 0, 0};
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
