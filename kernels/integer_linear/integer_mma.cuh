// Warp-wide products m16n8k32 of 8-bit integers; operands and sums are distributed as mma.cuh says
// of 16-bit ones, four codes in the place of two.
#pragma once

#include <cstdint>

namespace oasis::cuda {

__device__ inline void multiply_add(int (&c)[4], const std::uint32_t (&a)[4],
                                    const std::uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

}  // namespace oasis::cuda
