// Products of a warpgroup of 8-bit integers, both operands in shared memory as rows of 128 inputs
// (kernels/cuda/warpgroup.cuh), on compute capability 9.0.
#pragma once

#include <cstdint>

#include "kernels/cuda/warpgroup.cuh"

namespace oasis::cuda {

// Keeps the compiler from touching sums while products are under way.
template <int n>
__device__ void pin(int (&c)[n]) {
#pragma unroll
  for (int i = 0; i < n; ++i) asm volatile("" : "+r"(c[i])::"memory");
}

#ifdef OASIS_WARPGROUP_MMA

// clang-format off
#define OASIS_NAMES_0 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define OASIS_NAMES_1 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define OASIS_NAMES_2 "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define OASIS_NAMES_3 "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define OASIS_NAMES_4 "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"
#define OASIS_NAMES_5 "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define OASIS_NAMES_6 "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111"
#define OASIS_NAMES_7 "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define OASIS_SUMS(i) "+r"(c[i + 0]), "+r"(c[i + 1]), "+r"(c[i + 2]), "+r"(c[i + 3]), "+r"(c[i + 4]), "+r"(c[i + 5]), "+r"(c[i + 6]), "+r"(c[i + 7]), "+r"(c[i + 8]), "+r"(c[i + 9]), "+r"(c[i + 10]), "+r"(c[i + 11]), "+r"(c[i + 12]), "+r"(c[i + 13]), "+r"(c[i + 14]), "+r"(c[i + 15])
#define OASIS_WGMMA(columns, names, operands, predicate) \
  "{\n.reg .pred p;\nsetp.ne.b32 p, %" predicate ", 0;\n" \
  "wgmma.mma_async.sync.aligned.m64n" columns "k32.s32.s8.s8 {" names "}, " operands ", p;\n}\n"

// c = a·bᵀ, or c += a·bᵀ: a is 64×32 and b kColumns×32. c[4j + i] is lane l's c[i] of mma.cuh in
// columns [8j, 8j + 8).
template <int kColumns>
__device__ void warpgroup_multiply_add(int (&c)[kColumns / 2], std::uint64_t a, std::uint64_t b,
                                       bool add) {
  static_assert(kColumns == 96 || kColumns == 128 || kColumns == 256);
  const int addend = add;
  if constexpr (kColumns == 96) {
    asm volatile(OASIS_WGMMA("96", OASIS_NAMES_0 ", " OASIS_NAMES_1 ", " OASIS_NAMES_2, "%48, %49", "50")
                 : OASIS_SUMS(0), OASIS_SUMS(16), OASIS_SUMS(32) : "l"(a), "l"(b), "r"(addend));
  } else if constexpr (kColumns == 128) {
    asm volatile(OASIS_WGMMA("128", OASIS_NAMES_0 ", " OASIS_NAMES_1 ", " OASIS_NAMES_2 ", " OASIS_NAMES_3,
                             "%64, %65", "66")
                 : OASIS_SUMS(0), OASIS_SUMS(16), OASIS_SUMS(32), OASIS_SUMS(48)
                 : "l"(a), "l"(b), "r"(addend));
  } else {
    asm volatile(OASIS_WGMMA("256", OASIS_NAMES_0 ", " OASIS_NAMES_1 ", " OASIS_NAMES_2 ", " OASIS_NAMES_3 ", "
                             OASIS_NAMES_4 ", " OASIS_NAMES_5 ", " OASIS_NAMES_6 ", " OASIS_NAMES_7,
                             "%128, %129", "130")
                 : OASIS_SUMS(0), OASIS_SUMS(16), OASIS_SUMS(32), OASIS_SUMS(48), OASIS_SUMS(64),
                   OASIS_SUMS(80), OASIS_SUMS(96), OASIS_SUMS(112)
                 : "l"(a), "l"(b), "r"(addend));
  }
}
// clang-format on

#undef OASIS_NAMES_0
#undef OASIS_NAMES_1
#undef OASIS_NAMES_2
#undef OASIS_NAMES_3
#undef OASIS_NAMES_4
#undef OASIS_NAMES_5
#undef OASIS_NAMES_6
#undef OASIS_NAMES_7
#undef OASIS_SUMS
#undef OASIS_WGMMA

#endif

}  // namespace oasis::cuda
