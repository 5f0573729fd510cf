#include <algorithm>
#include <bit>

#include "kernels/cuda/column_sum.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/head_gate/head_gate_kernel.h"

namespace oasis::cuda {
namespace {

constexpr int kBlock = 256;
constexpr int kPack = 8;
constexpr int kTogether = 2;  // tokens that a thread has on their way at a time

// On a multiprocessor: enough that their loads keep the memory busy.
constexpr int kForwardBlocks = 4;
constexpr int kBackwardBlocks = 3;

// `lanes` threads (a power of two) share a head of a token, a pack of the slice and one of the
// context each. A block has `heads` heads of `tokens` tokens at a time, the same heads throughout.
struct Layout {
  int lanes, heads, tokens;

  explicit Layout(const HeadGate& p)
      : lanes(
            static_cast<int>(std::bit_ceil(static_cast<unsigned>(std::max(p.slice, p.d) / kPack)))),
        heads(static_cast<int>(std::min<int64_t>(p.H, kBlock / lanes))),
        tokens(kBlock / (lanes * heads)) {}

  // Whole warps: lanes of a warp sum together.
  int threads() const { return (lanes * heads * tokens + 31) / 32 * 32; }
  unsigned head_groups(const HeadGate& p) const {
    return static_cast<unsigned>((p.H + heads - 1) / heads);
  }
  int64_t token_groups(const HeadGate& p) const {
    return (p.B * p.T + tokens * kTogether - 1) / (tokens * kTogether);
  }
};

// What a thread works at.
struct Place {
  __device__ Place(const HeadGate& p, const Layout& layout)
      : column(static_cast<int>(threadIdx.x) % layout.lanes * kPack),
        head(static_cast<int>(threadIdx.x) / layout.lanes % layout.heads +
             static_cast<int>(blockIdx.y) * layout.heads),
        token(static_cast<int>(threadIdx.x) / layout.lanes / layout.heads),
        works(token < layout.tokens && head < p.H),
        in_slice(works && column < p.slice),
        in_head(works && column < p.d) {}

  int column, head, token;
  bool works, in_slice, in_head;
};

__device__ inline float sum_of_lanes(float x, int lanes) {
  for (int offset = lanes / 2; offset > 0; offset /= 2) {
    x += __shfl_xor_sync(0xffffffffu, x, offset);
  }
  return x;
}

__device__ inline float product(const float (&a)[kPack], const float (&b)[kPack]) {
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kPack; ++i) sum += a[i] * b[i];
  return sum;
}

template <class T>
__device__ Pack<T, kPack> context_pack(const HeadGate& p, const Place& place, unsigned token) {
  const unsigned b = token / static_cast<unsigned>(p.T), t = token % static_cast<unsigned>(p.T);
  return load_pack<kPack>(static_cast<const T*>(p.context) + b * p.batch + place.head * p.head +
                          t * p.position + place.column);
}

template <class T>
__global__ void __launch_bounds__(kBlock, kForwardBlocks)
    head_gate_forward_kernel(HeadGateForward p, Layout layout) {
  const Place place(p, layout);
  const auto tokens = static_cast<unsigned>(p.B * p.T);
  const unsigned first = blockIdx.x * layout.tokens * kTogether + place.token;
  Pack<T, kPack> x[kTogether], context[kTogether];
#pragma unroll
  for (int k = 0; k < kTogether; ++k) {
    const unsigned token = first + k * layout.tokens;
    x[k] = context[k] = {};
    if (token >= tokens) continue;
    const auto head = token * p.H + place.head;
    if (place.in_slice) {
      x[k] = load_pack<kPack>(static_cast<const T*>(p.x) + head * p.slice + place.column);
    }
    if (place.in_head) context[k] = context_pack<T>(p, place, token);
  }
  float w[kPack] = {};
  if (place.in_slice) load(p.weight + place.head * p.slice + place.column, w);
  const float bias = place.works ? p.bias[place.head] : 0.0f;
#pragma unroll
  for (int k = 0; k < kTogether; ++k) {
    const unsigned token = first + k * layout.tokens;
    float values[kPack];
    unpack(x[k], values);
    const float logit = sum_of_lanes(product(values, w), layout.lanes) + bias;
    if (!place.works || token >= tokens) continue;
    const float gate = 1 / (1 + expf(-logit));
    const auto head = token * p.H + place.head;
    if (place.column == 0) p.gates[head] = gate;
    if (!place.in_head) continue;
    unpack(context[k], values);
#pragma unroll
    for (int i = 0; i < kPack; ++i) values[i] *= gate;
    store(static_cast<T*>(p.y) + head * p.d + place.column, values);
  }
}

// Blocks walk over the tokens and keep their share of the gradients of weight and bias.
template <class T>
__global__ void __launch_bounds__(kBlock, kBackwardBlocks)
    head_gate_backward_kernel(HeadGateBackward p, Layout layout) {
  const Place place(p, layout);
  const auto tokens = static_cast<unsigned>(p.B * p.T);
  float w[kPack] = {}, grad_weight[kPack] = {}, grad_bias = 0;
  if (place.in_slice) load(p.weight + place.head * p.slice + place.column, w);
  const unsigned stride = layout.tokens * kTogether;
  for (unsigned start = blockIdx.x * stride; start < tokens; start += gridDim.x * stride) {
    Pack<T, kPack> x[kTogether], context[kTogether], grad_y[kTogether];
    float gates[kTogether];
#pragma unroll
    for (int k = 0; k < kTogether; ++k) {
      const unsigned token = start + place.token + k * layout.tokens;
      x[k] = context[k] = grad_y[k] = {};
      gates[k] = 0;
      if (!place.works || token >= tokens) continue;
      const auto head = token * p.H + place.head;
      if (place.in_slice) {
        x[k] = load_pack<kPack>(static_cast<const T*>(p.x) + head * p.slice + place.column);
      }
      if (place.in_head) {
        context[k] = context_pack<T>(p, place, token);
        grad_y[k] = load_pack<kPack>(static_cast<const T*>(p.grad_y) + head * p.d + place.column);
      }
      gates[k] = p.gates[head];
    }
#pragma unroll
    for (int k = 0; k < kTogether; ++k) {
      const unsigned token = start + place.token + k * layout.tokens;
      const auto head = token * p.H + place.head;
      float values[kPack], grad[kPack];
      unpack(context[k], values);
      unpack(grad_y[k], grad);
      const float grad_gate = sum_of_lanes(product(grad, values), layout.lanes);
      const float grad_logit = grad_gate * gates[k] * (1 - gates[k]);
#pragma unroll
      for (int i = 0; i < kPack; ++i) grad[i] *= gates[k];
      if (place.in_head && token < tokens) {
        store(static_cast<T*>(p.grad_context) + head * p.d + place.column, grad);
      }
      unpack(x[k], values);
      grad_bias += grad_logit;
#pragma unroll
      for (int i = 0; i < kPack; ++i) {
        grad_weight[i] += grad_logit * values[i];
        values[i] = grad_logit * w[i];
      }
      if (place.in_slice && token < tokens) {
        store(static_cast<T*>(p.grad_x) + head * p.slice + place.column, values);
      }
    }
  }

  // The block's tokens one after another.
  alignas(16) __shared__ float weights[kBlock * kPack];
  __shared__ float biases[kBlock];
  store(weights + threadIdx.x * kPack, grad_weight);
  biases[threadIdx.x] = grad_bias;
  __syncthreads();
  if (!place.works || place.token > 0) return;
  for (int k = 1; k < layout.tokens; ++k) {
    const int other = threadIdx.x + k * layout.heads * layout.lanes;
    float more[kPack];
    load(weights + other * kPack, more);
#pragma unroll
    for (int i = 0; i < kPack; ++i) grad_weight[i] += more[i];
    grad_bias += biases[other];
  }
  const int64_t D = p.H * p.slice;
  float* partial = p.partial + blockIdx.x * (D + p.H);
  if (place.in_slice) {
#pragma unroll
    for (int i = 0; i < kPack; ++i) {
      partial[place.head * p.slice + place.column + i] = grad_weight[i];
    }
  }
  if (place.column == 0) partial[D + place.head] = grad_bias;
}

}  // namespace

void head_gate_forward(const HeadGateForward& p) {
  if (p.B * p.T * p.H == 0) return;
  const Layout layout(p);
  const dim3 blocks(static_cast<unsigned>(layout.token_groups(p)), layout.head_groups(p));
  dispatch_element(p.type, [&]<class T>() {
    head_gate_forward_kernel<T><<<blocks, layout.threads(), 0, p.stream>>>(p, layout);
  });
  check_launch("head_gate_forward");
}

// As many blocks as are on the device at a time.
int64_t head_gate_partial_rows(const HeadGate& p) {
  const Layout layout(p);
  const int64_t blocks = kBackwardBlocks * multiprocessors();
  return std::min(layout.token_groups(p), std::max<int64_t>(blocks / layout.head_groups(p), 1));
}

void head_gate_backward(const HeadGateBackward& p) {
  const int64_t rows = head_gate_partial_rows(p);
  if (p.B * p.T * p.H > 0) {
    const Layout layout(p);
    const dim3 blocks(static_cast<unsigned>(rows), layout.head_groups(p));
    dispatch_element(p.type, [&]<class T>() {
      head_gate_backward_kernel<T><<<blocks, layout.threads(), 0, p.stream>>>(p, layout);
    });
    check_launch("head_gate_backward");
  }
  column_sum(p.partial, p.sums, rows, p.H * p.slice + p.H, p.stream);
}

}  // namespace oasis::cuda
