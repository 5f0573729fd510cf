#include "kernels/integer_linear/quantize_activations.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/parallel.h"

namespace oasis {
namespace {

constexpr int64_t kValuesPerTask = 16384;

// A row's codes; a NaN has zero's.
void quantize_row(ActivationGrid grid, float lowest, const float* x, int8_t* codes, int64_t n) {
#pragma omp simd
  for (int64_t k = 0; k < n; ++k) {
    const float exact = std::rint(x[k] / grid.scale) + grid.zero;
    const float code = exact != exact ? grid.zero : exact;
    const float clamped = code < lowest ? lowest : (code > grid.highest ? grid.highest : code);
    codes[k] = static_cast<int8_t>(static_cast<int32_t>(clamped - grid.shift));
  }
}

// NaN if there is one: as integers, the bits of magnitudes are ordered as they are, NaN last.
float largest_magnitude(const float* x, int64_t n) {
  int32_t largest = 0;
#pragma omp simd reduction(max : largest)
  for (int64_t k = 0; k < n; ++k) {
    const int32_t bits = std::bit_cast<int32_t>(x[k]) & 0x7fffffff;
    largest = bits > largest ? bits : largest;
  }
  return std::bit_cast<float>(largest);
}

int64_t rows_per_task(int64_t K) {
  return std::max<int64_t>(1, kValuesPerTask / std::max<int64_t>(K, 1));
}

}  // namespace

void quantize_static_cpu(const at::Tensor& x, const ActivationGrid& grid, const at::Tensor& codes) {
  const auto* from = x.const_data_ptr<float>();
  auto* to = codes.mutable_data_ptr<int8_t>();
  const int64_t K = x.size(1), stride = codes.stride(0);
  parallel_rows(x.size(0), rows_per_task(K), [&](int64_t begin, int64_t end) {
    for (int64_t m = begin; m < end; ++m) quantize_row(grid, 0, from + m * K, to + m * stride, K);
  });
}

void quantize_dynamic_cpu(const at::Tensor& x, int64_t bits, const at::Tensor& codes,
                          const at::Tensor& scale) {
  const auto* from = x.const_data_ptr<float>();
  auto* to = codes.mutable_data_ptr<int8_t>();
  auto* scales = scale.mutable_data_ptr<float>();
  const int64_t K = x.size(1), stride = codes.stride(0);
  const auto highest = static_cast<float>((int64_t{1} << (bits - 1)) - 1);
  parallel_rows(x.size(0), rows_per_task(K), [&](int64_t begin, int64_t end) {
    for (int64_t m = begin; m < end; ++m) {
      const float exact = largest_magnitude(from + m * K, K) / highest;
      scales[m] = exact < kSmallestRowScale ? kSmallestRowScale : exact;
      quantize_row({scales[m], 0, highest, 0}, -highest - 1, from + m * K, to + m * stride, K);
    }
  });
}

}  // namespace oasis
