// Depth routing: one token's new hidden state as a weighted sum of its earlier ones.
//
// Shapes: n sources, M tokens (batch × positions), D hidden size.
//
//   key_i = y_i                                    (projected form)
//         = y_i · (mean_D y_i² + eps)^-1/2         (normalize_keys: pseudo-query and block forms)
//   g_i   = scale · (u · key_i) + logit_bias_i − beta · (null_i − mean_r null_r)
//   α     = N(clamp(g, −50, 50))                   N: a normalizer over the n sources
//   R     = Σ_i α_i y_i
//
// Projected form: u = W_kᵀ (W_q y_n), scale = 1/√A, so that no key W_k y_i is ever materialised and
// the cost of the projections does not grow with depth. Pseudo-query form: u = w ∘ gain for every
// token (one row, broadcast). Source: Attention Residuals (arXiv 2603.15031) and OASIS
// (arXiv 2605.17887).
//
// The clamp's gradient passes at the bound, as torch.clamp's does.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <tuple>
#include <vector>

#include "kernels/normalizer/normalizer.h"

namespace oasis {

inline constexpr double kDepthLogitClamp = 50.0;

// A line over the sources: first + i · step.
struct DepthLine {
  double first, step;
};

struct DepthRouteOptions {
  NormalizerSpec normalizer;
  double scale = 1.0;
  bool normalize_keys = false;
  double eps = 1e-6;  // of the key normalisation
  std::optional<DepthLine>
      bias_line{};  // logit_bias is one value, and the sources' are its multiples
};

struct DepthRouteInputs {
  at::Tensor direction;   // u: [M, D], or [1, D] for one direction shared by every token
  at::Tensor logit_bias;  // [n], [1] with a line, or undefined
  at::Tensor nulls;       // [n, M] or undefined
  at::Tensor beta;        // [1]; defined exactly when nulls is
  // Where a kernel may write ∂L/∂u, of the direction's shape and type; undefined: memory of its own
  at::Tensor grad_direction{};
};

struct DepthRouteForward {
  at::Tensor routed;     // [M, D], of the sources' type; the rest is float32 for half types
  at::Tensor weights;    // [M, n] α
  at::Tensor logits;     // [M, n] g before the clamp
  at::Tensor key_scale;  // [M, n] (mean y² + eps)^-1/2, undefined unless normalize_keys
};

struct DepthRouteGradients {
  at::Tensor direction;  // shaped as the inputs; undefined where the input is
  at::Tensor logit_bias;
  at::Tensor nulls;
  at::Tensor beta;
  // [M, n] each: ∂L/∂y_i = α_i dR + towards_u_i u + towards_y_i y_i
  at::Tensor towards_u;
  at::Tensor towards_y;  // undefined unless normalize_keys
};

// `sources`: n tensors [M, D], contiguous, of one type (float32 or float64 on the CPU; on CUDA half
// types as well, computed in float32). The inputs may be of other types.
// `routed` is written in place when given.
DepthRouteForward depth_route_forward(const std::vector<at::Tensor>& sources,
                                      const DepthRouteInputs& inputs,
                                      const DepthRouteOptions& options, at::Tensor routed = {});

// Writes each source's gradient to `source_gradients[i]` [M, D], or none if the list is empty: see
// depth_gather_gradient. `grad_routed` [M, D] and `grad_weights` [M, n] may be undefined.
DepthRouteGradients depth_route_backward(const std::vector<at::Tensor>& sources,
                                         const DepthRouteInputs& inputs,
                                         const DepthRouteOptions& options,
                                         const DepthRouteForward& forward,
                                         const at::Tensor& grad_routed,
                                         const at::Tensor& grad_weights,
                                         const std::vector<at::Tensor>& source_gradients);

// One router that read a value as its source number `source`, with its backward pass done.
struct DepthReading {
  at::Tensor grad_routed;  // undefined: zero
  at::Tensor direction;
  at::Tensor weights, towards_u, towards_y;
  int64_t source;
};

// A value that several routers read, and what is known of its gradient.
struct DepthSource {
  at::Tensor value;                    // [M, D]
  std::vector<DepthReading> readings;  // not yet added up
  at::Tensor partial;                  // [M, D], of those that are; undefined: zero
};

// A value's gradient [M, D], in its type: `initial` (undefined: zero) plus what every reader took
// from it, added up before it is rounded. Summed when it is asked for, it costs no more reads than
// adding every router's part to a buffer, and no writes.
at::Tensor depth_gather_gradient(const DepthSource& source, const at::Tensor& initial);

// How many routers' readings are worth adding up ahead of time, together: a router's dR and u are
// then read once, and not once per source. 0: none.
int64_t depth_block_size(const at::Tensor& value);

// Adds the sources' readings to their partial gradients. They come from at most depth_block_size
// routers.
void depth_gather_block(const std::vector<DepthSource*>& sources);

// The differentiable operator, registered as oasis::depth_route.
std::tuple<at::Tensor, at::Tensor> depth_route(const std::vector<at::Tensor>& sources,
                                               const DepthRouteInputs& inputs,
                                               const DepthRouteOptions& options);

}  // namespace oasis
