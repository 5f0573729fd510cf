// 16-byte vectors of float32, bfloat16 or float16 and their conversion to float32.
#pragma once

#include "kernels/cuda/vector.cuh"

namespace oasis::cuda {

template <typename T>
inline constexpr int kVectorSize = 16 / static_cast<int>(sizeof(T));

template <typename T>
__device__ inline void to_floats(const uint4& raw, float (&values)[kVectorSize<T>]) {
  const uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if constexpr (sizeof(T) == 4) {
      values[i] = __uint_as_float(words[i]);
    } else {
      const float2 pair = unpack<T>(words[i]);
      values[2 * i] = pair.x;
      values[2 * i + 1] = pair.y;
    }
  }
}

template <typename T>
__device__ inline uint4 from_floats(const float (&values)[kVectorSize<T>]) {
  uint32_t words[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if constexpr (sizeof(T) == 4) {
      words[i] = __float_as_uint(values[i]);
    } else {
      words[i] = pack<T>(values[2 * i], values[2 * i + 1]);
    }
  }
  return {words[0], words[1], words[2], words[3]};
}

// A read that is not kept in the first-level cache.
__device__ inline uint4 load_streaming(const uint4* address) {
  uint4 value;
  asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
      : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
      : "l"(address));
  return value;
}

// The same of row-major [M, D]; zeros where there is no tensor.
__device__ inline uint4 load_or_zero(const void* tensor, int64_t index) {
  return tensor == nullptr ? uint4{0, 0, 0, 0}
                           : load_streaming(static_cast<const uint4*>(tensor) + index);
}

// sum += scale · the vector
template <typename T>
__device__ inline void add_scaled(float scale, const uint4& raw, float* sum) {
  float values[kVectorSize<T>];
  to_floats<T>(raw, values);
#pragma unroll
  for (int e = 0; e < kVectorSize<T>; ++e) sum[e] += scale * values[e];
}

// Eight float32 elements in two vectors.
__device__ inline void to_floats_of_two(const uint4& low, const uint4& high, float (&values)[8]) {
  const uint4 raw[2] = {low, high};
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float part[4];
    to_floats<float>(raw[half], part);
#pragma unroll
    for (int e = 0; e < 4; ++e) values[4 * half + e] = part[e];
  }
}

// A vector's elements of a direction, which is of the values' type or float32; `index` in vectors
// of T.
template <typename T, bool kFloat>
__device__ inline void load_direction(const void* direction, int64_t index,
                                      float (&u)[kVectorSize<T>]) {
  const auto* from = static_cast<const uint4*>(direction);
  if constexpr (kFloat && sizeof(T) == 2) {
    to_floats_of_two(__ldg(from + 2 * index), __ldg(from + 2 * index + 1), u);
  } else {
    to_floats<T>(__ldg(from + index), u);
  }
}

// The reverse.
template <typename T>
__device__ inline void store_direction(void* direction, bool is_float, int64_t index,
                                       const float (&u)[kVectorSize<T>]) {
  if constexpr (sizeof(T) == 2) {
    if (is_float) {
      auto* to = static_cast<float4*>(direction) + 2 * index;
      to[0] = {u[0], u[1], u[2], u[3]};
      to[1] = {u[4], u[5], u[6], u[7]};
      return;
    }
  }
  static_cast<uint4*>(direction)[index] = from_floats<T>(u);
}

// 16 bytes from global to shared memory without passing through registers.
__device__ inline void copy_async(uint4* shared, const uint4* global) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address), "l"(global) : "memory");
}

__device__ inline void copy_async_wait() {
  asm volatile("cp.async.commit_group;\ncp.async.wait_group 0;" ::: "memory");
}

}  // namespace oasis::cuda
