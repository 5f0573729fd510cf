// CPU kernels of depth routing on raw pointers. Rows are processed one token at a time: its n
// sources stay in the first-level cache, so each source is read from memory once.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/normalizer/normalizer.h"

namespace oasis {

template <typename T>
struct DepthRouteProblem {
  int64_t sources;           // n
  int64_t tokens;            // M
  int64_t hidden_size;       // D
  const T* const* values;    // n pointers to [M, D]
  const T* direction;        // [M, D] or [1, D]
  int64_t direction_stride;  // D or 0
  const T* logit_bias;       // [n] or null
  const T* nulls;            // [n, M] or null
  T beta;
  T scale;
  bool normalize_keys;
  T eps;
  NormalizerSpec normalizer;
};

template <typename T>
struct DepthRouteBackward {
  const T* weights;       // [M, n]
  const T* logits;        // [M, n]
  const T* key_scale;     // [M, n] or null
  const T* grad_routed;   // [M, D] or null
  const T* grad_weights;  // [M, n] or null
  T* const* grad_values;  // n pointers to [M, D], written; or null
  T* grad_direction;      // [M, D] written, or [chunks, D] added to when the direction is shared
  T* grad_logits;         // [M, n] written: ∂L/∂g
  T* towards_u;           // [M, n] written; see DepthRouteGradients
  T* towards_y;           // [M, n] written; or null
  int64_t chunk;          // tokens per chunk of a shared direction's partial sums
};

template <typename T>
void depth_route_forward_cpu(const DepthRouteProblem<T>& problem, T* routed, T* weights, T* logits,
                             T* key_scale);

template <typename T>
void depth_route_backward_cpu(const DepthRouteProblem<T>& problem,
                              const DepthRouteBackward<T>& backward);

template <typename T>
struct DepthReader {
  const T* grad_routed;  // [M, D] or null
  const T* direction;    // [M, D] or [1, D]
  int64_t direction_stride;
  const T* weights;  // [M, stride], as the next two: the value's column
  const T* towards_u;
  const T* towards_y;  // or null
  int64_t stride;
};

// gradient [M, D] += what each reader took from the value [M, D].
template <typename T>
void depth_gather_gradient_cpu(const T* value, const std::vector<DepthReader<T>>& readers,
                               int64_t tokens, int64_t hidden_size, T* gradient);

}  // namespace oasis
