// CUDA kernels of depth routing on raw pointers, free of Torch. Contract: depth_route.h.
//
// Shapes: n sources (at most kMaxDepthSources), M tokens, D hidden size. Rows of sources, of the
// routed sum and of their gradients have one element type ("T"); a row must be a multiple of 16
// bytes long and start at one. Directions are T or float32; everything of shape [M, n], biases,
// nulls and β are float32.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/element_type.h"

namespace oasis::cuda {

constexpr int kMaxDepthSources = 64;

// In the order of oasis::Normalizer.
enum class DepthNormalizer { kSoftmax, kSoftmax1, kClippedSoftmax, kSparsemax, kEntmax15 };

struct DepthRouteProblem {
  int sources;
  int64_t tokens;
  int hidden_size;
  ElementType element;
  const void* values[kMaxDepthSources];  // n pointers to [M, D]

  const void* direction;  // [M, D] or [1, D]
  bool direction_is_float;
  bool shared_direction;

  const float* logit_bias;  // [n], [1] with a line, or null
  bool bias_is_line;        // source i has the bias logit_bias · (line_first + i · line_step)
  double line_first, line_step;
  const float* nulls;  // [n, M] or null
  const float* beta;   // [1] on the device; null exactly when nulls is

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
  float* grad_logit_bias;               // as the bias; null for none
  float* grad_nulls;                    // [n, M] or null
  float* grad_beta;                     // [1] or null
  float* towards_u;                     // [M, n] or null
  float* towards_y;                     // [M, n] or null (normalize_keys only)
  // Scratch of depth_route_backward_partials(): sums over the tokens of one block each.
  float* direction_partials;  // [blocks, D]; used when the direction is shared
  double* logit_partials;     // [blocks, size of the logit bias + 1]: logit bias, then β
};

// Columns of logit_partials for the logit bias.
constexpr int bias_columns(const DepthRouteProblem& p) {
  return p.bias_is_line ? 1 : p.sources;
}

// Whether the device's shared memory and the block size serve the problem. Checks sizes alone, not
// the alignment of pointers.
bool depth_route_served(int sources, int hidden_size, ElementType element);

void depth_route_forward(const DepthRouteProblem& problem, const DepthRouteOutputs& outputs,
                         cudaStream_t stream);

// Blocks of the backward kernel on the current device: the first dimension of its scratch.
int depth_route_backward_blocks(const DepthRouteProblem& problem);

void depth_route_backward(const DepthRouteProblem& problem, const DepthRouteGradientInputs& inputs,
                          const DepthRouteGradientOutputs& outputs, int blocks,
                          cudaStream_t stream);

// One router with its backward pass done: what its sources' gradients take from it.
struct DepthReader {
  const void* grad_routed;  // [M, D] T or null
  const void* direction;    // [M, D] or [1, D]
  const float* weights;     // [M, stride]
  const float* towards_u;   // [M, stride]
  const float* towards_y;   // [M, stride] or null
  int stride;               // sources of that router
  bool shared_direction;
};

// The gradient of one value from every router that read it.
struct DepthGather {
  int readers;
  int64_t tokens;
  int hidden_size;
  ElementType element;
  bool direction_is_float;  // of all readers
  DepthReader reader[kMaxDepthSources];
  int source[kMaxDepthSources];  // the value's column in each reader
  const void* value;             // [M, D] T; null exactly when no reader has towards_y
  const void* addends[2];        // [M, D] T added to the result; each may be null
  void* gradient;                // [M, D] T, written
};

void depth_gather_gradient(const DepthGather& gather, cudaStream_t stream);

// The gradients of many values from kDepthBlock routers, whose dR and u are read once.
constexpr int kDepthBlock = 6;

struct DepthBlockValue {
  const void* value;           // [M, D] T; null unless a reader has towards_y
  const void* addend;          // [M, D] T or null
  void* gradient;              // [M, D] T, written
  int8_t source[kDepthBlock];  // the value's column in each reader, −1 where it is not read
};

struct DepthGatherBlock {
  int values;
  int64_t tokens;
  int hidden_size;
  ElementType element;
  bool direction_is_float;  // of all readers
  DepthReader reader[kDepthBlock];
  DepthBlockValue value[kMaxDepthSources];
};

void depth_gather_block(const DepthGatherBlock& block, cudaStream_t stream);

}  // namespace oasis::cuda
