// The gradient of one value from all routers that read it, summed in float32 in registers.
#include <type_traits>

#include "kernels/depth_route/launch_shape.h"
#include "kernels/depth_route/vector.cuh"

namespace oasis::cuda {
namespace {

constexpr int kThreads = 256;

constexpr int kTogether = 4;  // readers whose rows are in flight at once

// One thread, one vector of one token.
template <typename T, bool kFloatDirection>
__global__ void __launch_bounds__(kThreads)
    depth_gather_gradient_kernel(const __grid_constant__ DepthGather g) {
  constexpr int kVector = kVectorSize<T>;
  constexpr int kDirectionVectors = kFloatDirection && sizeof(T) == 2 ? 2 : 1;
  const int vectors = g.hidden_size / kVector;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t m = index / vectors;
  if (m >= g.tokens) return;
  const int64_t in_row = index - m * vectors;
  float sum[kVector] = {};
  float towards_value = 0;

  const auto add_readers = [&]<int kCount>(int first, std::integral_constant<int, kCount>) {
    uint4 grads[kCount], directions[kCount][kDirectionVectors];
    float weights[kCount], towards_u[kCount];
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      const DepthReader& reader = g.reader[first + j];
      const int64_t row = m * reader.stride + g.source[first + j];
      const int64_t u = (reader.shared_direction ? in_row : index) * kDirectionVectors;
      grads[j] = load_or_zero(reader.grad_routed, index);
#pragma unroll
      for (int k = 0; k < kDirectionVectors; ++k) {
        directions[j][k] = __ldg(static_cast<const uint4*>(reader.direction) + u + k);
      }
      weights[j] = __ldg(reader.weights + row);
      towards_u[j] = __ldg(reader.towards_u + row);
      if (reader.towards_y != nullptr) towards_value += __ldg(reader.towards_y + row);
    }
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      add_scaled<T>(weights[j], grads[j], sum);
      if constexpr (kDirectionVectors == 2) {
        add_scaled<float>(towards_u[j], directions[j][0], sum);
        add_scaled<float>(towards_u[j], directions[j][1], sum + 4);
      } else {
        add_scaled<T>(towards_u[j], directions[j][0], sum);
      }
    }
  };

#pragma unroll
  for (int i = 0; i < 2; ++i) add_scaled<T>(1.0F, load_or_zero(g.addends[i], index), sum);
  int r = 0;
  for (; r + kTogether <= g.readers; r += kTogether) {
    add_readers(r, std::integral_constant<int, kTogether>());
  }
  for (; r < g.readers; ++r) add_readers(r, std::integral_constant<int, 1>());
  if (g.value != nullptr) {
    add_scaled<T>(towards_value, load_or_zero(g.value, index), sum);
  }
  static_cast<uint4*>(g.gradient)[index] = from_floats<T>(sum);
}

template <typename T>
void launch(const DepthGather& g, cudaStream_t stream) {
  const int64_t vectors = g.tokens * (g.hidden_size / kVectorSize<T>);
  const auto blocks = static_cast<unsigned>((vectors + kThreads - 1) / kThreads);
  const auto kernel = g.direction_is_float ? depth_gather_gradient_kernel<T, true>
                                           : depth_gather_gradient_kernel<T, false>;
  kernel<<<blocks, kThreads, 0, stream>>>(g);
  check_launch("depth_gather_gradient");
}

}  // namespace

void depth_gather_gradient(const DepthGather& gather, cudaStream_t stream) {
  if (gather.tokens == 0) return;
  dispatch_element(gather.element, [&]<class T>() { launch<T>(gather, stream); });
}

}  // namespace oasis::cuda
