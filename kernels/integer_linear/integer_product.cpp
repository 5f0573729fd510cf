#include "kernels/integer_linear/integer_product.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/integer_linear/integer_panels.h"
#include "kernels/parallel.h"

namespace oasis {
namespace {

constexpr int64_t kFewRows = 8;          // up to here rows of the weight are read as they are
constexpr int64_t kFewRowsColumns = 16;  // of a task
constexpr int64_t kBlockRows = 96;       // a block's rows stay in the second-level cache
constexpr int64_t kBlockInputs = 512;    // a panel's columns stay in the first-level cache

int64_t divided_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

struct Product {
  int64_t M, N, K;
  const int8_t* x;
  int64_t x_stride;
  int64_t zero;
  const float* x_scale;
  bool x_by_row;
  const int8_t* w;  // int8 or nibbles
  int64_t w_stride;
  bool packed;
  const float* w_scale;
  bool w_by_column;
  bool grouped;  // scales [G, N]
  const float* bias;
  float* y;

  void expand_activations(int64_t m, int16_t* to) const {
    const int8_t* from = x + m * x_stride;
    const auto shift = static_cast<int16_t>(zero);
#pragma omp simd
    for (int64_t k = 0; k < K; ++k) to[k] = static_cast<int16_t>(from[k] - shift);
  }

  // Writes an even number of codes.
  void expand_weights(int64_t n, int16_t* to) const {
    const int8_t* from = w + n * w_stride;
    if (packed) {
#pragma omp simd
      for (int64_t j = 0; j < (K + 1) / 2; ++j) {
        to[2 * j] = static_cast<int16_t>(static_cast<int8_t>(from[j] << 4) >> 4);
        to[2 * j + 1] = static_cast<int16_t>(from[j] >> 4);
      }
    } else {
#pragma omp simd
      for (int64_t k = 0; k < K; ++k) to[k] = from[k];
      if (K % 2 != 0) to[K] = 0;
    }
  }

  float row_scale(int64_t m) const {
    return x_scale[x_by_row ? m : 0];
  }
  float column_scale(int64_t n) const {
    return w_scale[w_by_column ? n : 0];
  }
};

int64_t padded(int64_t K) {
  return divided_up(K, kDotMultiple) * kDotMultiple;
}

// Outputs n of all rows, which are x [M, padded(K)]; w [padded(K)].
void few_rows_outputs(const Product& p, const int16_t* x, const int16_t* w, int64_t n) {
  const auto multiply = pair_instructions().multiply_rows;
  const int64_t stride = padded(p.K);
  const float offset = p.bias == nullptr ? 0.0F : p.bias[n];
  int32_t sums[kFewRows];
  if (!p.grouped) {
    multiply(x, stride, p.M, w, stride, sums);
    for (int64_t m = 0; m < p.M; ++m) {
      p.y[m * p.N + n] =
          std::fma(static_cast<float>(sums[m]), p.row_scale(m) * p.column_scale(n), offset);
    }
    return;
  }
  float totals[kFewRows] = {};
  for (int64_t g = 0, k = 0; k < p.K; ++g, k += kWeightGroup) {
    multiply(x + k, stride, p.M, w + k, std::min(kWeightGroup, stride - k), sums);
    for (int64_t m = 0; m < p.M; ++m) {
      totals[m] = std::fma(static_cast<float>(sums[m]), p.w_scale[g * p.N + n], totals[m]);
    }
  }
  for (int64_t m = 0; m < p.M; ++m) {
    p.y[m * p.N + n] = std::fma(totals[m], p.row_scale(m), offset);
  }
}

void multiply_few_rows(const Product& p) {
  const int64_t stride = padded(p.K);
  std::vector<int16_t> x(static_cast<size_t>(p.M * stride));
  for (int64_t m = 0; m < p.M; ++m) p.expand_activations(m, x.data() + m * stride);
  parallel_rows(divided_up(p.N, kFewRowsColumns), 1, [&](int64_t begin, int64_t end) {
    std::vector<int16_t> w(static_cast<size_t>(stride));
    for (int64_t n = begin * kFewRowsColumns; n < std::min(p.N, end * kFewRowsColumns); ++n) {
      p.expand_weights(n, w.data());
      few_rows_outputs(p, x.data(), w.data(), n);
    }
  });
}

// Codes in panels of `kLines` lines: expand(line, to) writes those of one.
template <int64_t kLines, class Expand>
void fill_panel(int64_t first, int64_t lines, int64_t pairs, std::vector<int16_t>& buffer,
                int16_t* panel, const Expand& expand) {
  buffer.resize(static_cast<size_t>(2 * pairs), 0);
  for (int64_t i = 0; i < kLines; ++i) {
    const bool valid = first + i < lines;
    if (valid) {
      expand(first + i, buffer.data());
    } else {
      std::ranges::fill(buffer, int16_t{0});
    }
    for (int64_t pair = 0; pair < pairs; ++pair) {
      panel[(pair * kLines + i) * 2] = buffer[2 * pair];
      panel[(pair * kLines + i) * 2 + 1] = buffer[2 * pair + 1];
    }
  }
}

class BlockedProduct {
 public:
  explicit BlockedProduct(const Product& p)
      : p_(p),
        pairs_(divided_up(p.K, 2)),
        column_panels_(divided_up(p.N, kPanelColumns)),
        columns_(at::empty({column_panels_ * pairs_ * kPanelColumns * 2}, at::kShort)) {
    auto* columns = columns_.mutable_data_ptr<int16_t>();
    parallel_rows(column_panels_, 1, [&](int64_t begin, int64_t end) {
      std::vector<int16_t> buffer;
      for (int64_t i = begin; i < end; ++i) {
        fill_panel<kPanelColumns>(i * kPanelColumns, p_.N, pairs_, buffer,
                                  columns + i * pairs_ * kPanelColumns * 2,
                                  [&](int64_t n, int16_t* to) { p_.expand_weights(n, to); });
      }
    });
  }

  void run() const {
    const int64_t shared = divided_up(p_.M, at::get_num_threads());
    const int64_t block = std::min(kBlockRows, divided_up(shared, kPanelRows) * kPanelRows);
    parallel_rows(divided_up(p_.M, block), 1, [&](int64_t begin, int64_t end) {
      Scratch scratch;
      for (int64_t i = begin; i < end; ++i) {
        rows(i * block, std::min(p_.M, (i + 1) * block), scratch);
      }
    });
  }

 private:
  struct Scratch {
    std::vector<int16_t> buffer, panels;
    std::vector<int32_t> sums;
    std::vector<float> totals;
  };

  void rows(int64_t begin, int64_t end, Scratch& scratch) const {
    const int64_t panels = divided_up(end - begin, kPanelRows);
    const int64_t stride = pairs_ * kPanelRows * 2;
    scratch.panels.resize(static_cast<size_t>(panels * stride));
    for (int64_t i = 0; i < panels; ++i) {
      fill_panel<kPanelRows>(begin + i * kPanelRows, end, pairs_, scratch.buffer,
                             scratch.panels.data() + i * stride,
                             [&](int64_t m, int16_t* to) { p_.expand_activations(m, to); });
    }
    const auto values = static_cast<size_t>(panels * kPanelRows * kPanelColumns);
    for (int64_t i = 0; i < column_panels_; ++i) {
      scratch.sums.assign(values, 0);
      scratch.totals.assign(p_.grouped ? values : 0, 0.0F);
      const int64_t step = (p_.grouped ? kWeightGroup : kBlockInputs) / 2;
      for (int64_t pair = 0, g = 0; pair < pairs_; pair += step, ++g) {
        multiply_(scratch.panels.data() + pair * kPanelRows * 2, stride, panels,
                  columns_.const_data_ptr<int16_t>() + (i * pairs_ + pair) * kPanelColumns * 2,
                  std::min(step, pairs_ - pair), scratch.sums.data());
        if (p_.grouped) add_group(i * kPanelColumns, g, scratch);
      }
      store(begin, end, i * kPanelColumns, scratch);
    }
  }

  int64_t columns_at(int64_t n) const { return std::min(kPanelColumns, p_.N - n); }

  void add_group(int64_t n, int64_t g, Scratch& scratch) const {
    float scale[kPanelColumns] = {};
    std::copy_n(p_.w_scale + g * p_.N + n, columns_at(n), scale);
    const auto rows = static_cast<int64_t>(scratch.sums.size()) / kPanelColumns;
    auto* sums = scratch.sums.data();
    auto* totals = scratch.totals.data();
    for (int64_t m = 0; m < rows; ++m, sums += kPanelColumns, totals += kPanelColumns) {
#pragma omp simd
      for (int64_t i = 0; i < kPanelColumns; ++i) {
        totals[i] = std::fma(static_cast<float>(sums[i]), scale[i], totals[i]);
        sums[i] = 0;
      }
    }
  }

  void store(int64_t begin, int64_t end, int64_t n, const Scratch& scratch) const {
    const int64_t count = columns_at(n);
    float scale[kPanelColumns] = {}, offset[kPanelColumns] = {};
    for (int64_t i = 0; i < count; ++i) {
      if (!p_.grouped) scale[i] = p_.column_scale(n + i);
      if (p_.bias != nullptr) offset[i] = p_.bias[n + i];
    }
    for (int64_t m = begin; m < end; ++m) {
      const auto from = static_cast<size_t>((m - begin) * kPanelColumns);
      const float row_scale = p_.row_scale(m);
      float out[kPanelColumns];
      if (p_.grouped) {
        const float* totals = scratch.totals.data() + from;
#pragma omp simd
        for (int64_t i = 0; i < kPanelColumns; ++i) {
          out[i] = std::fma(totals[i], row_scale, offset[i]);
        }
      } else {
        const int32_t* sums = scratch.sums.data() + from;
#pragma omp simd
        for (int64_t i = 0; i < kPanelColumns; ++i) {
          out[i] = std::fma(static_cast<float>(sums[i]), row_scale * scale[i], offset[i]);
        }
      }
      std::copy_n(out, count, p_.y + m * p_.N + n);
    }
  }

  Product p_;
  int64_t pairs_, column_panels_;
  at::Tensor columns_;  // panels of the weight
  MultiplyPanels multiply_ = pair_instructions().multiply_panels;
};

}  // namespace

at::Tensor integer_product(const QuantizedActivations& x, const IntegerWeight& weight,
                           const at::Tensor& bias) {
  auto y = at::empty({x.codes.size(0), weight.codes.size(0)}, at::kFloat);
  const Product p{.M = y.size(0),
                  .N = y.size(1),
                  .K = weight.inputs,
                  .x = x.codes.const_data_ptr<int8_t>(),
                  .x_stride = x.codes.stride(0),
                  .zero = x.zero,
                  .x_scale = x.scale.const_data_ptr<float>(),
                  .x_by_row = x.scale.numel() > 1,
                  .w = static_cast<const int8_t*>(weight.codes.const_data_ptr()),
                  .w_stride = weight.codes.stride(0),
                  .packed = weight.packed(),
                  .w_scale = weight.scale.const_data_ptr<float>(),
                  .w_by_column = weight.scale.numel() > 1,
                  .grouped = weight.grouped(),
                  .bias = bias.defined() ? bias.const_data_ptr<float>() : nullptr,
                  .y = y.mutable_data_ptr<float>()};
  if (p.M == 0 || p.N == 0) return y;
  if (p.M <= kFewRows) {
    multiply_few_rows(p);
  } else {
    BlockedProduct(p).run();
  }
  return y;
}

}  // namespace oasis
