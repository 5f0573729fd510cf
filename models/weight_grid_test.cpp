#include "models/weight_grid.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/fake_quantize/fake_quantize.h"
#include "models/model_testing.h"

namespace oasis {
namespace {

using namespace testing_support;

// One scale's values, rounded one by one.
std::vector<double> on_grid(const std::vector<double>& values, double scale, int bits) {
  const double most = std::ldexp(1.0, bits - 1);
  std::vector<double> result;
  for (const double w : values) {
    result.push_back(std::clamp(std::nearbyint(w / scale), -most, most - 1) * scale);
  }
  return result;
}

double scale_by_hand(const std::vector<double>& values, int bits, WeightRange range) {
  double largest = 0;
  for (const double w : values) largest = std::max(largest, std::abs(w));
  largest /= std::ldexp(1.0, bits - 1) - 1;
  if (range == WeightRange::kMinMax) return largest;
  double best = 0, least = std::numeric_limits<double>::infinity();
  for (int i = 1; i <= 100; ++i) {
    const double scale = largest * (i / 100.0);
    const auto rounded = on_grid(values, scale, bits);
    double error = 0;
    for (size_t k = 0; k < values.size(); ++k) error += std::pow(rounded[k] - values[k], 2);
    if (error < least * (1 - 1e-12)) {
      least = error;
      best = scale;
    }
  }
  return best;
}

TEST(WeightGridTest, IsTheFormulaRowByRowAndGroupByGroup) {
  const auto weight = at::randn({5, 150}, at::kDouble);
  for (const auto range : {WeightRange::kMinMax, WeightRange::kMse}) {
    for (const auto grain : {WeightGrain::kTensor, WeightGrain::kRow, WeightGrain::kGroup}) {
      for (const int bits : {2, 4, 8}) {
        const int64_t width = grain == WeightGrain::kTensor ? 750
                              : grain == WeightGrain::kRow  ? 150
                                                            : 64;
        const auto found = quantized_weight(weight, bits, {range, grain});
        const auto scales = weight_scale(weight, bits, {range, grain}).flatten();
        ASSERT_EQ(found.sizes(), weight.sizes());
        int64_t index = 0;
        const auto rows = grain == WeightGrain::kTensor ? weight.reshape({1, -1}) : weight;
        const auto found_rows = found.reshape(rows.sizes());
        for (int64_t r = 0; r < rows.size(0); ++r) {
          for (int64_t first = 0; first < rows.size(1); first += width, ++index) {
            const auto count = std::min(width, rows.size(1) - first);
            const auto part = rows[r].narrow(0, first, count).contiguous();
            const std::vector<double> values(part.const_data_ptr<double>(),
                                             part.const_data_ptr<double>() + count);
            const double scale = scale_by_hand(values, bits, range);
            EXPECT_NEAR(scales[index].item<double>(), scale, 1e-12 * scale);
            const auto expected = on_grid(values, scale, bits);
            for (int64_t k = 0; k < count; ++k) {
              EXPECT_NEAR(found_rows[r][first + k].item<double>(), expected[k], 1e-12);
            }
          }
        }
        EXPECT_EQ(index, scales.numel());
      }
    }
  }
}

TEST(WeightGridTest, ThePublishedGridIsTheKernels) {
  const auto weight = at::randn({7, 33});
  EXPECT_TRUE(at::equal(quantized_weight(weight, 4, {}), fake_quantize_weight(weight, 4)));
  EXPECT_EQ(weight_scale(weight, 8, {WeightRange::kMinMax, WeightGrain::kGroup}).size(1), 1);
  const auto zero = at::zeros({3, 70});
  EXPECT_TRUE(at::equal(quantized_weight(zero, 4, {WeightRange::kMse, WeightGrain::kGroup}), zero));
}

TEST(WeightGridTest, FinerGridsAndBestRangesLoseLess) {
  const auto weight = at::randn({32, 256}, at::kDouble) * at::randn({32, 1}, at::kDouble).exp();
  const auto loss = [&](WeightGrid grid) {
    return (quantized_weight(weight, 4, grid) - weight).norm().item<double>();
  };
  using enum WeightGrain;
  using enum WeightRange;
  EXPECT_LT(loss({kMinMax, kRow}), loss({kMinMax, kTensor}));
  EXPECT_LT(loss({kMinMax, kGroup}), loss({kMinMax, kRow}));
  for (const auto grain : {kTensor, kRow, kGroup}) {
    EXPECT_LT(loss({kMse, grain}), loss({kMinMax, grain}));
  }
}

TEST(WeightGridTest, Names) {
  EXPECT_EQ(parse_weight_range("mse"), WeightRange::kMse);
  EXPECT_EQ(parse_weight_grain("group"), WeightGrain::kGroup);
  EXPECT_TRUE(says(refusal([] { parse_weight_grain("rows"); }), "rows", "'row'", "group"));
  EXPECT_TRUE(says(refusal([] { parse_weight_range("minmax"); }), "min_max"));
}

}  // namespace
}  // namespace oasis
