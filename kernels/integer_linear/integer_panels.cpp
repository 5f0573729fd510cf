#include "kernels/integer_linear/integer_panels.h"

#include <algorithm>
#include <cstring>
#include <vector>

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

void multiply_rows_plain(const int16_t* rows, int64_t stride, int64_t count, const int16_t* column,
                         int64_t n, int32_t* sums) {
  for (int64_t m = 0; m < count; ++m) {
    sums[m] = 0;
    for (int64_t k = 0; k < n; ++k) sums[m] += rows[m * stride + k] * column[k];
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

[[gnu::target("avx2")]] __m256i load_16(const int16_t* from) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}

// Of four rows at most; what is beyond them repeats the last one.
[[gnu::target("avx2")]] __m128i multiply_four_rows(const int16_t* rows, int64_t stride,
                                                   int64_t count, const int16_t* column,
                                                   int64_t n) {
  const int16_t* row[4];
  for (int r = 0; r < 4; ++r) row[r] = rows + std::min<int64_t>(r, count - 1) * stride;
  __m256i c[4] = {};
  for (int64_t k = 0; k < n; k += kDotMultiple) {
    const __m256i w = load_16(column + k);
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) {
      c[r] = _mm256_add_epi32(c[r], _mm256_madd_epi16(load_16(row[r] + k), w));
    }
  }
  const __m256i halves =
      _mm256_hadd_epi32(_mm256_hadd_epi32(c[0], c[1]), _mm256_hadd_epi32(c[2], c[3]));
  return _mm_add_epi32(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1));
}

// Of one row, two sums against an instruction's latency.
[[gnu::target("avx2")]] int32_t multiply_row(const int16_t* row, const int16_t* column, int64_t n) {
  __m256i c[2] = {};
  int64_t k = 0;
  for (; k + 2 * kDotMultiple <= n; k += 2 * kDotMultiple) {
    for (int i = 0; i < 2; ++i) {
      const int64_t at = k + i * kDotMultiple;
      c[i] = _mm256_add_epi32(c[i], _mm256_madd_epi16(load_16(row + at), load_16(column + at)));
    }
  }
  if (k < n)
    c[0] = _mm256_add_epi32(c[0], _mm256_madd_epi16(load_16(row + k), load_16(column + k)));
  const __m256i both = _mm256_add_epi32(c[0], c[1]);
  __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
  sum = _mm_hadd_epi32(sum, sum);
  return _mm_cvtsi128_si32(_mm_hadd_epi32(sum, sum));
}

[[gnu::target("avx2")]] void multiply_rows_avx2(const int16_t* rows, int64_t stride, int64_t count,
                                                const int16_t* column, int64_t n, int32_t* sums) {
  if (count == 1) {
    sums[0] = multiply_row(rows, column, n);
    return;
  }
  for (int64_t m = 0; m < count; m += 4) {
    alignas(16) int32_t four[4];
    _mm_store_si128(reinterpret_cast<__m128i*>(four),
                    multiply_four_rows(rows + m * stride, stride, count - m, column, n));
    std::copy_n(four, std::min<int64_t>(4, count - m), sums + m);
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

std::vector<PairInstructions> find_pair_instructions() {
  std::vector<PairInstructions> found;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vnni")) {
    found.push_back({"AVX-512 VNNI", multiply_avx512, multiply_rows_avx2});
  }
  if (__builtin_cpu_supports("avx2")) {
    found.push_back({"AVX2", multiply_avx2, multiply_rows_avx2});
  }
#endif
  found.push_back({"plain", multiply_plain, multiply_rows_plain});
  return found;
}

}  // namespace

std::span<const PairInstructions> all_pair_instructions() {
  static const auto found = find_pair_instructions();
  return found;
}

const PairInstructions& pair_instructions() {
  return all_pair_instructions().front();
}

}  // namespace oasis
