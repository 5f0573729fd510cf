// Matrix products of a warpgroup (four warps, 64 rows) with a second operand in shared memory, on
// compute capability 9.0; architecture-specific, so compiled for sm_90a alone.
//
// The second operand lies in rows of 128 bytes whose 16-byte chunks are permuted by the row
// (attention_tiles.cuh), the first row at a multiple of 1024 bytes: what the hardware calls the
// 128-byte swizzle. Accumulators and first operands are distributed over a warp's lanes as those of
// mma.cuh, warp w holding rows [16w, 16w + 16).
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

#include "kernels/cuda/warpgroup.cuh"

namespace oasis::cuda {

// Keeps the compiler from touching accumulators while products are under way.
template <int n>
__device__ void pin(float (&c)[n][4]) {
#pragma unroll
  for (int i = 0; i < n; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) asm volatile("" : "+f"(c[i][j])::"memory");
  }
}

#ifdef OASIS_WARPGROUP_MMA

#define OASIS_ACCUMULATORS                                                                      \
  "+f"(c[0][0]), "+f"(c[0][1]), "+f"(c[0][2]), "+f"(c[0][3]), "+f"(c[1][0]), "+f"(c[1][1]),     \
      "+f"(c[1][2]), "+f"(c[1][3]), "+f"(c[2][0]), "+f"(c[2][1]), "+f"(c[2][2]), "+f"(c[2][3]), \
      "+f"(c[3][0]), "+f"(c[3][1]), "+f"(c[3][2]), "+f"(c[3][3]), "+f"(c[4][0]), "+f"(c[4][1]), \
      "+f"(c[4][2]), "+f"(c[4][3]), "+f"(c[5][0]), "+f"(c[5][1]), "+f"(c[5][2]), "+f"(c[5][3]), \
      "+f"(c[6][0]), "+f"(c[6][1]), "+f"(c[6][2]), "+f"(c[6][3]), "+f"(c[7][0]), "+f"(c[7][1]), \
      "+f"(c[7][2]), "+f"(c[7][3])
#define OASIS_WGMMA(type)                                                                        \
  "wgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type                                    \
  " {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, " \
  "%20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "

// c = a·b, or c += a·b: a is 64×16 and b 16×64. kByRow: b's rows are the rows in shared memory,
// otherwise its columns are.
template <class T, bool kByRow>
__device__ void warpgroup_multiply_add(float (*c)[4], const std::uint32_t (&a)[4], std::uint64_t b,
                                       bool add) {
#define OASIS_WGMMA_REGISTERS(type)                                                              \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n" OASIS_WGMMA(                         \
                   type) "{%32, %33, %34, %35}, %36, p, 1, 1, %38;\n}\n"                         \
               : OASIS_ACCUMULATORS                                                              \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)), \
                 "n"(kByRow ? 1 : 0))
  if constexpr (std::is_same_v<T, __half>) {
    OASIS_WGMMA_REGISTERS("f16");
  } else {
    OASIS_WGMMA_REGISTERS("bf16");
  }
#undef OASIS_WGMMA_REGISTERS
}

// The same, a's rows in shared memory like those of b.
template <class T, bool kByRow>
__device__ void warpgroup_multiply_add(float (*c)[4], std::uint64_t a, std::uint64_t b, bool add) {
#define OASIS_WGMMA_SHARED(type)                                         \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n" OASIS_WGMMA( \
                   type) "%32, %33, p, 1, 1, 0, %35;\n}\n"               \
               : OASIS_ACCUMULATORS                                      \
               : "l"(a), "l"(b), "r"(static_cast<int>(add)), "n"(kByRow ? 1 : 0))
  if constexpr (std::is_same_v<T, __half>) {
    OASIS_WGMMA_SHARED("f16");
  } else {
    OASIS_WGMMA_SHARED("bf16");
  }
#undef OASIS_WGMMA_SHARED
}
#undef OASIS_WGMMA
#undef OASIS_ACCUMULATORS

#endif

}  // namespace oasis::cuda
