#include "kernels/integer_linear/integer_panels.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace oasis {
namespace {

void multiply_plain(const int16_t* rows, int64_t panel_stride, int64_t panels,
                    const int16_t* columns, int64_t pairs, int32_t* sums) {
  for (int64_t panel = 0; panel < panels; ++panel) {
    for (int64_t r = 0; r < kPanelRows; ++r) {
      int32_t* out = sums + (panel * kPanelRows + r) * kPanelColumns;
      for (int64_t p = 0; p < pairs; ++p) {
        const int16_t* a = rows + panel * panel_stride + (p * kPanelRows + r) * 2;
        const int16_t* b = columns + p * kPanelColumns * 2;
        for (int64_t n = 0; n < kPanelColumns; ++n) {
          out[n] += a[0] * b[2 * n] + a[1] * b[2 * n + 1];
        }
      }
    }
  }
}

#if defined(__x86_64__)

int32_t load_pair(const int16_t* from) {
  int32_t pair;
  std::memcpy(&pair, from, sizeof(pair));
  return pair;
}

[[gnu::target("avx2")]] void multiply_avx2(const int16_t* rows, int64_t panel_stride,
                                           int64_t panels, const int16_t* columns, int64_t pairs,
                                           int32_t* sums) {
  for (int64_t panel = 0; panel < panels; ++panel) {
    const int16_t* a = rows + panel * panel_stride;
    const int16_t* b = columns;
    auto* out = reinterpret_cast<__m256i*>(sums + panel * kPanelRows * kPanelColumns);
    __m256i c[kPanelRows][2];
    for (int r = 0; r < kPanelRows; ++r) {
      for (int half = 0; half < 2; ++half) c[r][half] = _mm256_loadu_si256(out + 2 * r + half);
    }
    for (int64_t p = 0; p < pairs; ++p, a += kPanelRows * 2, b += kPanelColumns * 2) {
      const __m256i left = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b));
      const __m256i right = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b) + 1);
#pragma GCC unroll 6
      for (int r = 0; r < kPanelRows; ++r) {
        const __m256i pair = _mm256_set1_epi32(load_pair(a + 2 * r));
        c[r][0] = _mm256_add_epi32(c[r][0], _mm256_madd_epi16(pair, left));
        c[r][1] = _mm256_add_epi32(c[r][1], _mm256_madd_epi16(pair, right));
      }
    }
    for (int r = 0; r < kPanelRows; ++r) {
      for (int half = 0; half < 2; ++half) _mm256_storeu_si256(out + 2 * r + half, c[r][half]);
    }
  }
}

// Two panels of rows at once where there are two: enough sums to hide an instruction's latency.
template <int kPanels>
[[gnu::target("avx512f,avx512vnni")]] void multiply_zmm(const int16_t* a, int64_t panel_stride,
                                                        const int16_t* b, int64_t pairs,
                                                        int32_t* sums) {
  constexpr int kRows = kPanels * kPanelRows;
  __m512i c[kRows];
  for (int r = 0; r < kRows; ++r) c[r] = _mm512_loadu_si512(sums + r * kPanelColumns);
  for (int64_t p = 0; p < pairs; ++p, a += kPanelRows * 2, b += kPanelColumns * 2) {
    const __m512i columns = _mm512_loadu_si512(b);
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      const int16_t* pair = a + r / kPanelRows * panel_stride + r % kPanelRows * 2;
      c[r] = _mm512_dpwssd_epi32(c[r], _mm512_set1_epi32(load_pair(pair)), columns);
    }
  }
  for (int r = 0; r < kRows; ++r) _mm512_storeu_si512(sums + r * kPanelColumns, c[r]);
}

void multiply_avx512(const int16_t* rows, int64_t panel_stride, int64_t panels,
                     const int16_t* columns, int64_t pairs, int32_t* sums) {
  int64_t panel = 0;
  for (; panel + 2 <= panels; panel += 2) {
    multiply_zmm<2>(rows + panel * panel_stride, panel_stride, columns, pairs,
                    sums + panel * kPanelRows * kPanelColumns);
  }
  if (panel < panels) {
    multiply_zmm<1>(rows + panel * panel_stride, panel_stride, columns, pairs,
                    sums + panel * kPanelRows * kPanelColumns);
  }
}

#endif

// The fastest first.
std::array<MultiplyPanels, 4> find_multiply_panels() {
  std::array<MultiplyPanels, 4> found{};
  size_t count = 0;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vnni")) {
    found[count++] = multiply_avx512;
  }
  if (__builtin_cpu_supports("avx2")) found[count++] = multiply_avx2;
#endif
  found[count] = multiply_plain;
  return found;
}

const std::array<MultiplyPanels, 4> kMultiplyPanels = find_multiply_panels();

}  // namespace

MultiplyPanels multiply_panels() {
  return kMultiplyPanels[0];
}

const MultiplyPanels* all_multiply_panels() {
  return kMultiplyPanels.data();
}

}  // namespace oasis
