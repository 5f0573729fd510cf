// Elements of any supported type in memory, float in registers: loads and stores of up to 16 bytes.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

#include "kernels/cuda/element_type.h"
#include "kernels/cuda/pair.cuh"

namespace oasis::cuda {

__device__ inline float to_float(float x) {
  return x;
}
__device__ inline float to_float(__nv_bfloat16 x) {
  return __bfloat162float(x);
}
__device__ inline float to_float(__half x) {
  return __half2float(x);
}

template <class T>
__device__ inline T from_float(float x) {
  if constexpr (sizeof(T) == 4) {
    return x;
  } else if constexpr (std::is_same_v<T, __half>) {
    return __float2half_rn(x);
  } else {
    return __float2bfloat16_rn(x);
  }
}

// What x becomes when it is stored as T and read again.
template <class T>
__device__ inline float rounded(float x) {
  return to_float(from_float<T>(x));
}

// N neighbours as they lie in memory, moved in one instruction where they fit in 16 bytes. 16-bit
// elements stay two in a register.
template <class T, int N>
struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) Pack {
  static constexpr bool kPairs = sizeof(T) == 2 && N % 2 == 0;
  using Piece = std::conditional_t<kPairs, std::uint32_t, T>;
  Piece pieces[kPairs ? N / 2 : N];

  // What was unpacked before is unpacked again, instead of being kept in twice the registers.
  __device__ void stay_packed() {
    if constexpr (kPairs) {
#pragma unroll
      for (auto& piece : pieces) asm volatile("" : "+r"(piece));
    }
  }
};

template <class T, int N>
__device__ inline void unpack(const Pack<T, N>& pack, float (&out)[N]) {
  if constexpr (!Pack<T, N>::kPairs) {
#pragma unroll
    for (int i = 0; i < N; ++i) out[i] = to_float(pack.pieces[i]);
  } else {
#pragma unroll
    for (int i = 0; i < N; i += 2) {
      const float2 both = unpack<T>(pack.pieces[i / 2]);
      out[i] = both.x;
      out[i + 1] = both.y;
    }
  }
}

template <class T, int N>
__device__ inline Pack<T, N> pack(const float (&in)[N]) {
  Pack<T, N> result;
  if constexpr (!Pack<T, N>::kPairs) {
#pragma unroll
    for (int i = 0; i < N; ++i) result.pieces[i] = from_float<T>(in[i]);
  } else {
#pragma unroll
    for (int i = 0; i < N; i += 2) result.pieces[i / 2] = pack<T>(in[i], in[i + 1]);
  }
  return result;
}

// `from` and `to` must be aligned to the pack.
template <int N, class T>
__device__ inline Pack<T, N> load_pack(const T* from) {
  return *reinterpret_cast<const Pack<T, N>*>(from);
}

template <class T, int N>
__device__ inline void load(const T* from, float (&out)[N]) {
  unpack(load_pack<N>(from), out);
}

template <class T, int N>
__device__ inline void store(T* to, const float (&in)[N]) {
  *reinterpret_cast<Pack<T, N>*>(to) = pack<T>(in);
}

// e^x: within 2 units in the last place where the result is stored as float, the hardware's own
// approximation (2^-22) where it is rounded to 16 bits.
template <class T>
__device__ inline float exponential(float x) {
  if constexpr (sizeof(T) == 4) {
    return expf(x);
  } else {
    return __expf(x);
  }
}

inline bool aligned(const void* pointer, int bytes) {
  return reinterpret_cast<std::uintptr_t>(pointer) % static_cast<unsigned>(bytes) == 0;
}

// function.template operator()<T>() for the type's own T.
template <class Function>
void dispatch_element(ElementType type, Function&& function) {
  switch (type) {
    case ElementType::kFloat32:
      return function.template operator()<float>();
    case ElementType::kBFloat16:
      return function.template operator()<__nv_bfloat16>();
    case ElementType::kFloat16:
      return function.template operator()<__half>();
  }
}

}  // namespace oasis::cuda
