#include "kernels/linear/thin_product.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstring>

#include "kernels/parallel.h"

namespace oasis {
namespace {

constexpr int kLanes = 8;
typedef float Lanes __attribute__((vector_size(kLanes * sizeof(float))));

Lanes load_lanes(const float* from) {
  Lanes lanes;
  std::memcpy(&lanes, from, sizeof(lanes));
  return lanes;
}

// ((0+4)+(2+6)) + ((1+5)+(3+7)): one order for every shape of tile.
float sum_lanes(const Lanes& lanes) {
  float a[kLanes / 2], b[kLanes / 4];
  for (int i = 0; i < 4; ++i) a[i] = lanes[i] + lanes[i + 4];
  for (int i = 0; i < 2; ++i) b[i] = a[i] + a[i + 2];
  return b[0] + b[1];
}

// Rows of the weight that stay in the second-level cache while the rows of x take turns. Meanwhile
// the next ones are fetched from memory: a pass over them would else wait for it, and the passes
// after it leave it idle.
constexpr int64_t kWeightRows = 24;
constexpr int64_t kFloatsInLine = 16;

struct ThinProduct {
  const float* x;  // [M, K]
  const float* w;  // [N, K]
  float* y;        // [M, N]
  int64_t N, K;

  // kRows rows of x with kColumns rows of the weight.
  template <int kRows, int kColumns>
  void tile(int64_t m, int64_t n) const {
    const float* a = x + m * K;
    const float* b = w + n * K;
    Lanes sums[kRows][kColumns] = {};
    const auto step = [&](int64_t k) {
      Lanes weight[kColumns];
      for (int j = 0; j < kColumns; ++j) weight[j] = load_lanes(b + j * K + k);
      for (int i = 0; i < kRows; ++i) {
        const Lanes value = load_lanes(a + i * K + k);
        for (int j = 0; j < kColumns; ++j) sums[i][j] += value * weight[j];
      }
    };
    int64_t k = 0;
    const float* ahead = b + kWeightRows * K;
    if (m == 0 && kRows > 1 && ahead + kColumns * K <= w + N * K) {
      for (; k + kFloatsInLine <= K; k += kFloatsInLine) {
        for (int j = 0; j < kColumns; ++j) __builtin_prefetch(ahead + j * K + k, 0, 2);
        step(k);
        step(k + kLanes);
      }
    }
    for (; k + kLanes <= K; k += kLanes) step(k);
    for (int i = 0; i < kRows; ++i) {
      for (int j = 0; j < kColumns; ++j) {
        float sum = sum_lanes(sums[i][j]);
        for (int64_t rest = k; rest < K; ++rest) sum += a[i * K + rest] * b[j * K + rest];
        y[(m + i) * N + n + j] = sum;
      }
    }
  }

  template <int kRows, int kColumns>
  void columns(int64_t m, int64_t begin, int64_t end) const {
    int64_t n = begin;
    for (; n + kColumns <= end; n += kColumns) tile<kRows, kColumns>(m, n);
    for (; n < end; ++n) tile<kRows, 1>(m, n);
  }

  void rows(int64_t M, int64_t begin, int64_t end) const {
    int64_t m = 0;
    for (; m + 4 <= M; m += 4) columns<4, 3>(m, begin, end);
    if (m + 2 <= M) {
      columns<2, 4>(m, begin, end);
      m += 2;
    }
    if (m < M) columns<1, 4>(m, begin, end);
  }
};

}  // namespace

bool thin_product_serves(const at::Tensor& x, const at::Tensor& weight) {
  return x.is_cpu() && x.scalar_type() == at::kFloat && weight.is_cpu() &&
         weight.scalar_type() == at::kFloat && x.dim() > 0 && weight.dim() == 2 &&
         x.size(-1) == weight.size(1) && x.numel() > 0 && weight.numel() > 0 &&
         x.numel() / x.size(-1) <= kThinRows && weight.is_contiguous();
}

at::Tensor thin_product(const at::Tensor& x_input, const at::Tensor& weight) {
  const auto x = x_input.contiguous();
  auto shape = x.sizes().vec();
  shape.back() = weight.size(0);
  auto y = at::empty(shape, x.options());
  const ThinProduct product{x.const_data_ptr<float>(), weight.const_data_ptr<float>(),
                            y.mutable_data_ptr<float>(), weight.size(0), weight.size(1)};
  const int64_t M = x.numel() / x.size(-1), N = product.N;
  const int64_t blocks = (N + kWeightRows - 1) / kWeightRows;
  parallel_rows(blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      product.rows(M, block * kWeightRows, std::min(N, (block + 1) * kWeightRows));
    }
  });
  return y;
}

}  // namespace oasis
