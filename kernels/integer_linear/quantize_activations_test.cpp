// Codes of activations, as integer_linear.h defines them.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/integer_linear/integer_linear.h"

namespace oasis {
namespace {

at::Generator generator(uint64_t seed) {
  return at::make_generator<at::CPUGeneratorImpl>(seed);
}

TEST(QuantizeActivationsTest, StaticFollowsTheDefinition) {
  const auto x = at::randn({5, 70}, generator(1), at::kFloat) * 2;
  for (const int64_t bits : {2, 3, 4, 7, 8}) {
    for (const auto& [lo, hi] : {std::pair{-1.1, 2.2}, {0.5, 2.0}, {-2.0, -0.5}, {0.0, 0.0}}) {
      const auto q = quantize_static(x, lo, hi, bits);
      const double low = std::min(lo, 0.0), high = std::max(hi, 0.0);
      const double most = std::pow(2.0, bits) - 1, shift = bits == 8 ? 128 : 0;
      const auto scale = static_cast<float>(std::max((high - low) / most, 1e-12));
      const auto zero = std::nearbyint(-low / std::max((high - low) / most, 1e-12));
      EXPECT_EQ(q.zero, static_cast<int64_t>(zero - shift));
      EXPECT_EQ(q.scale.item<float>(), scale);
      for (int64_t i = 0; i < x.numel(); ++i) {
        const float value = x.const_data_ptr<float>()[i];
        const auto code = std::clamp(std::nearbyint(double{value / scale}) + zero, 0.0, most);
        ASSERT_EQ(q.codes[i / 70][i % 70].item<int64_t>(), static_cast<int64_t>(code - shift));
      }
    }
  }
}

TEST(QuantizeActivationsTest, DynamicReachesItsLargestCode) {
  auto x = at::randn({6, 35}, generator(1), at::kFloat);
  x[3].zero_();
  x[4][7] = -1000;
  for (const int64_t bits : {2, 4, 8}) {
    const auto q = quantize_dynamic(x, bits);
    const auto most = static_cast<float>((1 << (bits - 1)) - 1);
    EXPECT_EQ(q.zero, 0);
    for (int64_t m = 0; m < 6; ++m) {
      const auto largest = x[m].abs().max().item<float>();
      EXPECT_EQ(q.scale[m].item<float>(), std::max(largest / most, 1e-12F));
      EXPECT_EQ(q.codes[m].abs().max().item<float>(), m == 3 ? 0 : most);
      const auto exact = (x[m] / q.scale[m]).round();
      EXPECT_TRUE(at::equal(q.codes[m].to(at::kFloat), exact));
    }
  }
}

TEST(QuantizeActivationsTest, RowsThatAreNotFiniteGiveNan) {
  auto x = at::ones({3, 16});
  x[0][3] = std::numeric_limits<float>::quiet_NaN();
  x[1][5] = std::numeric_limits<float>::infinity();
  const auto weight = make_integer_weight(at::ones({2, 16}, at::kChar), at::ones({1}), 16);
  const auto y = integer_linear(quantize_dynamic(x, 8), weight, {}, at::kFloat);
  EXPECT_TRUE(y.narrow(0, 0, 2).isnan().all().item<bool>());
  EXPECT_EQ(y[2][0].item<float>(), 16.0F);
  // Per tensor a NaN counts as zero.
  const auto q = quantize_static(x, -1, 2, 8);
  EXPECT_EQ(q.codes[0][3].item<int64_t>(), q.zero);
}

TEST(QuantizeActivationsTest, HalfTypesAreReadAsFloats) {
  const auto x = at::randn({2, 3, 33}, generator(1), at::kFloat).to(at::kBFloat16);
  const auto q = quantize_dynamic(x, 8), expected = quantize_dynamic(x.to(at::kFloat), 8);
  EXPECT_EQ(q.codes.sizes(), (at::IntArrayRef{6, 33}));
  EXPECT_EQ(q.codes.stride(0), 48);
  EXPECT_TRUE(at::equal(q.codes, expected.codes) && at::equal(q.scale, expected.scale));
}

}  // namespace
}  // namespace oasis
