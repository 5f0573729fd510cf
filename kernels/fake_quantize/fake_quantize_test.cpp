#include "kernels/fake_quantize/fake_quantize.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/randperm.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace oasis {
namespace {

std::vector<double> values_of(const at::Tensor& x) {
  const auto plain = x.detach().to(at::kDouble).contiguous();
  return {plain.data_ptr<double>(), plain.data_ptr<double>() + plain.numel()};
}

// The asymmetric quantizer of fake_quantize.h, value by value.
double quantized(double x, double lo, double hi, int bits) {
  lo = std::min(lo, 0.0);
  hi = std::max(hi, 0.0);
  const double most = std::pow(2.0, bits) - 1;
  const double scale = std::max((hi - lo) / most, 1e-12);
  const double zero = std::nearbyint(-lo / scale);
  return (std::clamp(std::nearbyint(x / scale) + zero, 0.0, most) - zero) * scale;
}

TEST(FakeQuantizeTest, MatchesTheDefinition) {
  const auto x = at::randn({7, 143}, at::kDouble);
  const auto before = values_of(x);
  for (const int bits : {2, 3, 4, 8, 16}) {
    for (const auto& [lo, hi] : {std::pair{-1.1, 2.2}, {0.5, 2.0}, {-2.0, -0.5}, {0.0, 0.0}}) {
      const auto after = values_of(fake_quantize(x, lo, hi, bits));
      for (std::size_t i = 0; i < before.size(); ++i) {
        EXPECT_NEAR(after[i], quantized(before[i], lo, hi, bits), 1e-15) << bits << " bits";
      }
    }
  }
}

TEST(FakeQuantizeTest, RoundsHalfToEven) {
  // Range [0, 15] at 4 bits: scale 1.
  const auto x = at::tensor({0.5, 1.5, 2.5, 3.5, 15.5, -0.5}, at::kDouble);
  EXPECT_EQ(values_of(fake_quantize(x, 0, 15, 4)), (std::vector<double>{0, 2, 2, 4, 15, 0}));
}

TEST(FakeQuantizeTest, ZeroStaysZeroAndNanStaysNan) {
  const auto x = at::tensor({0.0F, std::nanf("")});
  const auto out = fake_quantize(x, -0.37, 1.91, 8);
  EXPECT_EQ(out[0].item<float>(), 0);
  EXPECT_TRUE(std::isnan(out[1].item<float>()));
}

TEST(FakeQuantizeTest, HalfTypesKeepTheirType) {
  const auto x = at::randn({65}).to(at::kBFloat16);
  const auto out = fake_quantize(x, -2, 2, 8);
  EXPECT_EQ(out.scalar_type(), at::kBFloat16);
  EXPECT_TRUE(at::equal(out, fake_quantize(x.to(at::kFloat), -2, 2, 8).to(at::kBFloat16)));
}

TEST(FakeQuantizeTest, GradientPassesInsideTheRangeAlone) {
  // Scale 1, codes 0 to 15 stand for −5 to 10; −5.5 rounds to even, −6, and is cut off.
  const auto x =
      at::tensor({-7.0, -5.5, -5.4, 0.0, 10.0, 10.4, 10.6}, at::kDouble).requires_grad_();
  const auto grad = torch::autograd::grad({fake_quantize(x, -5, 10, 4)}, {x},
                                          {at::linspace(1, 7, 7, at::kDouble)});
  EXPECT_EQ(values_of(grad[0]), (std::vector<double>{0, 0, 3, 4, 5, 6, 0}));
}

TEST(FakeQuantizeTest, StridesDoNotMatter) {
  const auto x = at::randn({30, 17}).t();
  EXPECT_TRUE(at::equal(fake_quantize(x, -1, 1, 4), fake_quantize(x.contiguous(), -1, 1, 4)));
}

TEST(FakeQuantizeTest, WeightIsSymmetric) {
  const auto weight = at::tensor({-2.0, -1.1, 0.0, 0.14, 0.15, 1.9}, at::kDouble);
  // 4 bits: scale 2/7.
  const auto found = values_of(fake_quantize_weight(weight, 4));
  const double codes[] = {-7, -4, 0, 0, 1, 7};
  for (int i = 0; i < 6; ++i) EXPECT_NEAR(found[i], codes[i] * 2 / 7, 1e-15);
}

TEST(FakeQuantizeTest, WeightOfZerosStays) {
  const auto zeros = at::zeros({4, 3});
  EXPECT_TRUE(at::equal(fake_quantize_weight(zeros, 8), zeros));
}

TEST(FakeQuantizeTest, WeightGradientPasses) {
  const auto weight = at::randn({5, 6}).requires_grad_();
  const auto upstream = at::randn({5, 6});
  const auto grad = torch::autograd::grad({fake_quantize_weight(weight, 4)}, {weight}, {upstream});
  EXPECT_TRUE(at::equal(grad[0], upstream));
}

TEST(FakeQuantizeTest, BadArgumentsAreRefused) {
  const auto x = at::randn({3});
  EXPECT_THROW(fake_quantize(x, -1, 1, 1), c10::Error);
  EXPECT_THROW(fake_quantize(x, -1, 1, 17), c10::Error);
  EXPECT_THROW(fake_quantize(x, 1, -1, 8), c10::Error);
  EXPECT_THROW(fake_quantize(x, std::nan(""), 1, 8), c10::Error);
  EXPECT_THROW(fake_quantize(x.to(at::kLong), -1, 1, 8), c10::Error);
  EXPECT_THROW(fake_quantize_weight(x, 1), c10::Error);
  EXPECT_THROW(percentile_range(x, 0.1, 99.9), c10::Error);
  EXPECT_THROW(percentile_range(at::zeros({0}), 0, 1), c10::Error);
}

TEST(PercentileRangeTest, InterpolatesBetweenOrderStatistics) {
  // 0 … 1000 in random order: the percentile at share s is 1000·s.
  const auto x = at::randperm(1001, at::kLong).to(at::kDouble).reshape({7, 143});
  for (const auto& [lower, upper] :
       {std::pair{0.0, 1.0}, {1e-5, 1 - 1e-5}, {0.25, 0.25}, {0.123, 0.4567}, {0.9991, 0.99999}}) {
    const auto range = values_of(percentile_range(x, lower, upper));
    EXPECT_NEAR(range[0], 1000 * lower, 1e-10);
    EXPECT_NEAR(range[1], 1000 * upper, 1e-10);
  }
}

TEST(PercentileRangeTest, OneValueTiesAndStrides) {
  EXPECT_EQ(values_of(percentile_range(at::tensor({3.5F}), 0.1, 0.9)),
            (std::vector<double>{3.5, 3.5}));
  auto x = at::zeros({40, 50});
  x[3][4] = 2;
  EXPECT_EQ(values_of(percentile_range(x.t(), 0, 1)), (std::vector<double>{0, 2}));
  EXPECT_EQ(values_of(percentile_range(x.t(), 0.01, 0.99)), (std::vector<double>{0, 0}));
}

TEST(PercentileRangeTest, NanShows) {
  auto x = at::randn({100});
  x[50] = std::nan("");
  EXPECT_TRUE(percentile_range(x, 0, 0.5).isnan().all().item<bool>());
}

}  // namespace
}  // namespace oasis
