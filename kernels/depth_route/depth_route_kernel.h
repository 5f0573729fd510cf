// CUDA kernels of depth routing on raw pointers, free of Torch. Contract: depth_route.h.
//
// Shapes: n sources (at most kMaxDepthSources), M tokens, D hidden size. Rows of sources, of the
// routed sum and of their gradients have one element type ("T"); a row must be a multiple of 16
// bytes long and start at one. Directions are T or float32; everything of shape [M, n], biases,
// nulls and β are float32.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace oasis::cuda {

constexpr int kMaxDepthSources = 64;

enum class DepthElement { kFloat32, kBfloat16, kFloat16 };

// In the order of oasis::Normalizer.
enum class DepthNormalizer { kSoftmax, kSoftmax1, kClippedSoftmax, kSparsemax, kEntmax15 };

struct DepthRouteProblem {
  int sources;
  int64_t tokens;
  int hidden_size;
  DepthElement element;
  const void* values[kMaxDepthSources];  // n pointers to [M, D]

  const void* direction;  // [M, D] or [1, D]
  bool direction_is_float;
  bool shared_direction;

  const float* logit_bias;  // [n] or null
  const float* nulls;       // [n, M] or null
  const float* beta;        // [1] on the device; null exactly when nulls is

  DepthNormalizer normalizer;
  float zeta, gamma;  // clipped softmax
  float scale;
  bool normalize_keys;
  float eps;
};

struct DepthRouteOutputs {
  void* routed;      // [M, D] T
  float* weights;    // [M, n] α
  float* logits;     // [M, n] g before the clamp
  float* key_scale;  // [M, n] or null unless normalize_keys
};

// What the gradient of a source takes from one router, with `coefficients` [M, n]:
//   ∂L/∂y_i = weights_i·dR + towards_u_i·u + towards_y_i·y_i
struct DepthRouteGradientInputs {
  const float* weights;       // [M, n]
  const float* logits;        // [M, n]
  const float* key_scale;     // [M, n] or null
  const void* grad_routed;    // [M, D] T or null
  const float* grad_weights;  // [M, n] or null
};

struct DepthRouteGradientOutputs {
  void* grad_values[kMaxDepthSources];  // [M, D] T, written; each may be null
  void* grad_direction;                 // as the direction; null for none
  float* grad_logit_bias;               // [n] or null
  float* grad_nulls;                    // [n, M] or null
  float* grad_beta;                     // [1] or null
  float* towards_u;                     // [M, n] or null
  float* towards_y;                     // [M, n] or null (normalize_keys only)
  // Scratch of depth_route_backward_partials(): sums over the tokens of one block each.
  float* direction_partials;  // [blocks, D]; used when the direction is shared
  double* logit_partials;     // [blocks, n + 1]: logit bias, then β
};

// Whether the device's shared memory and the block size serve the problem. Checks sizes alone, not
// the alignment of pointers.
bool depth_route_served(int sources, int hidden_size, DepthElement element);

void depth_route_forward(const DepthRouteProblem& problem, const DepthRouteOutputs& outputs,
                         cudaStream_t stream);

// Blocks of the backward kernel on the current device: the first dimension of its scratch.
int depth_route_backward_blocks(const DepthRouteProblem& problem);

void depth_route_backward(const DepthRouteProblem& problem, const DepthRouteGradientInputs& inputs,
                          const DepthRouteGradientOutputs& outputs, int blocks,
                          cudaStream_t stream);

// One router that read the value whose gradient is gathered.
struct DepthReader {
  const void* grad_routed;  // [M, D] T; without weights it is read, but does not count
  const void* direction;    // [M, D] or [1, D]
  const float* weights;     // [M, stride], the value's column; or null
  const float* towards_u;   // the same
  const float* towards_y;   // the same; or null
  int stride;               // sources of that router
  bool shared_direction;
};

struct DepthGather {
  int readers;
  int64_t tokens;
  int hidden_size;
  DepthElement element;
  bool direction_is_float;  // of all readers
  DepthReader reader[kMaxDepthSources];
  const void* value;    // [M, D] T; null exactly when no reader has towards_y
  const void* initial;  // [M, D] T added to the result, or null
  void* gradient;       // [M, D] T, written
};

void depth_gather_gradient(const DepthGather& gather, cudaStream_t stream);

}  // namespace oasis::cuda
