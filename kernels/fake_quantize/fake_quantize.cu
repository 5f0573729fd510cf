#include <algorithm>

#include "kernels/cuda/device.h"
#include "kernels/cuda/vector.cuh"
#include "kernels/fake_quantize/fake_quantize_kernel.h"

namespace oasis::cuda {
namespace {

constexpr int kBlock = 256;

// Calls use(first) on every pack of this thread, then use_one(index) on the elements behind the
// last whole pack.
template <int kPack, class Use, class UseOne>
__device__ void walk(int64_t count, Use&& use, UseOne&& use_one) {
  const int64_t thread = blockIdx.x * int64_t{kBlock} + threadIdx.x;
  const int64_t packs = count / kPack;
  for (int64_t i = thread; i < packs; i += gridDim.x * int64_t{kBlock}) use(i * kPack);
  if (thread < count - packs * kPack) use_one(packs * kPack + thread);
}

// The bits of non-negative floats are ordered as they are, NaN behind infinity, and the order of
// atomic maxima does not matter.
template <class T, int kPack>
__global__ void __launch_bounds__(kBlock) largest_magnitude_kernel(LargestMagnitude p) {
  const auto* x = static_cast<const T*>(p.x);
  unsigned largest = 0;
  const auto take = [&](float value) { largest = max(largest, __float_as_uint(fabsf(value))); };
  walk<kPack>(
      p.count,
      [&](int64_t first) {
        float values[kPack];
        load(x + first, values);
#pragma unroll
        for (int i = 0; i < kPack; ++i) take(values[i]);
      },
      [&](int64_t i) { take(to_float(x[i])); });
  largest = __reduce_max_sync(0xffffffffu, largest);
  if (threadIdx.x % 32 == 0) atomicMax(p.largest, largest);
}

// Every operation rounds by itself, as on the CPU.
struct Grid {
  __device__ float code(float x) const { return __fadd_rn(rintf(__fdiv_rn(x, scale)), zero); }
  __device__ float value(float code) const {
    const float clamped = code < lowest ? lowest : (code > highest ? highest : code);
    return __fmul_rn(__fsub_rn(clamped, zero), scale);
  }
  __device__ bool holds(float code) const { return code >= lowest && code <= highest; }

  float scale, zero, lowest, highest;
};

__device__ float weight_scale(float largest, float highest) {
  return largest == 0
             ? 1.0f
             : static_cast<float>(static_cast<double>(largest) / static_cast<double>(highest));
}

template <class T, int kPack>
__global__ void __launch_bounds__(kBlock) fake_quantize_kernel(FakeQuantize p) {
  __shared__ float scale;
  if (threadIdx.x == 0) {
    scale = p.largest == nullptr ? p.scale : weight_scale(__uint_as_float(*p.largest), p.highest);
  }
  __syncthreads();
  const Grid grid{scale, p.zero, p.lowest, p.highest};
  const auto* x = static_cast<const T*>(p.x);
  const auto* grad = static_cast<const T*>(p.grad);
  auto* out = static_cast<T*>(p.out);
  walk<kPack>(
      p.count,
      [&](int64_t first) {
        float values[kPack], grads[kPack];
        load(x + first, values);
        if (grad != nullptr) load(grad + first, grads);
#pragma unroll
        for (int i = 0; i < kPack; ++i) {
          const float code = grid.code(values[i]);
          values[i] = grad == nullptr ? grid.value(code) : (grid.holds(code) ? grads[i] : 0.0f);
        }
        store(out + first, values);
      },
      [&](int64_t i) {
        const float code = grid.code(to_float(x[i]));
        out[i] = from_float<T>(grad == nullptr ? grid.value(code)
                                               : (grid.holds(code) ? to_float(grad[i]) : 0.0f));
      });
}

// Enough blocks to fill the device; they walk over the rest.
unsigned blocks_for(int64_t count, int pack) {
  const int64_t needed = (count / pack + kBlock - 1) / kBlock;
  return static_cast<unsigned>(std::clamp<int64_t>(needed, 1, 16 * multiprocessors()));
}

}  // namespace

void largest_magnitude(const LargestMagnitude& p) {
  dispatch_element(p.type, [&]<class T>() {
    constexpr int kPack = 16 / sizeof(T);
    if (aligned(p.x, 16)) {
      largest_magnitude_kernel<T, kPack><<<blocks_for(p.count, kPack), kBlock, 0, p.stream>>>(p);
    } else {
      largest_magnitude_kernel<T, 1><<<blocks_for(p.count, 1), kBlock, 0, p.stream>>>(p);
    }
  });
  check_launch("largest_magnitude");
}

void fake_quantize(const FakeQuantize& p) {
  if (p.count == 0) return;
  dispatch_element(p.type, [&]<class T>() {
    constexpr int kPack = 16 / sizeof(T);
    if (aligned(p.x, 16) && aligned(p.grad, 16) && aligned(p.out, 16)) {
      fake_quantize_kernel<T, kPack><<<blocks_for(p.count, kPack), kBlock, 0, p.stream>>>(p);
    } else {
      fake_quantize_kernel<T, 1><<<blocks_for(p.count, 1), kBlock, 0, p.stream>>>(p);
    }
  });
  check_launch("fake_quantize");
}

}  // namespace oasis::cuda
