// The gradient of one value from all routers that read it, summed in float32 in registers.
#include "kernels/depth_route/launch_shape.h"
#include "kernels/depth_route/vector.cuh"

namespace oasis::cuda {
namespace {

constexpr int kThreads = 256;

template <typename T>
__device__ inline void add_scaled(float scale, const uint4& raw, float* sum) {
  float values[kVectorSize<T>];
  to_floats<T>(raw, values);
#pragma unroll
  for (int e = 0; e < kVectorSize<T>; ++e) sum[e] += scale * values[e];
}

// One thread, one vector of one token.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    depth_gather_gradient_kernel(const __grid_constant__ DepthGather g) {
  constexpr int kVector = kVectorSize<T>;
  const int vectors = g.hidden_size / kVector;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t m = index / vectors;
  if (m >= g.tokens) return;
  const int64_t in_row = index - m * vectors;
  float sum[kVector] = {};
  if (g.initial != nullptr) {
    to_floats<T>(load_streaming(static_cast<const uint4*>(g.initial) + index), sum);
  }
  float towards_value = 0;
#pragma unroll 4
  for (int r = 0; r < g.readers; ++r) {
    const DepthReader& reader = g.reader[r];
    const int64_t row = m * reader.stride;
    const float towards_u = reader.towards_u[row];
    const int64_t u = reader.shared_direction ? in_row : index;
    if (reader.grad_routed != nullptr) {
      add_scaled<T>(reader.weights[row],
                    load_streaming(static_cast<const uint4*>(reader.grad_routed) + index), sum);
    }
    if (sizeof(T) == 2 && reader.direction_is_float) {
      const auto* direction = static_cast<const uint4*>(reader.direction) + 2 * u;
      add_scaled<float>(towards_u, direction[0], sum);
      add_scaled<float>(towards_u, direction[1], sum + kVector - 4);
    } else {
      add_scaled<T>(towards_u, static_cast<const uint4*>(reader.direction)[u], sum);
    }
    if (reader.towards_y != nullptr) towards_value += reader.towards_y[row];
  }
  if (g.value != nullptr) {
    add_scaled<T>(towards_value, load_streaming(static_cast<const uint4*>(g.value) + index), sum);
  }
  static_cast<uint4*>(g.gradient)[index] = from_floats<T>(sum);
}

template <typename T>
void launch(const DepthGather& g, cudaStream_t stream) {
  const int64_t vectors = g.tokens * (g.hidden_size / kVectorSize<T>);
  const auto blocks = static_cast<unsigned>((vectors + kThreads - 1) / kThreads);
  depth_gather_gradient_kernel<T><<<blocks, kThreads, 0, stream>>>(g);
  check_launch("depth_gather_gradient");
}

}  // namespace

void depth_gather_gradient(const DepthGather& gather, cudaStream_t stream) {
  if (gather.tokens == 0) return;
  switch (gather.element) {
    case DepthElement::kFloat32:
      return launch<float>(gather, stream);
    case DepthElement::kBfloat16:
      return launch<__nv_bfloat16>(gather, stream);
    case DepthElement::kFloat16:
      return launch<__half>(gather, stream);
  }
}

}  // namespace oasis::cuda
