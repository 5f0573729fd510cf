// Codes of weights, packed and not, as integer_linear.h defines them.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "kernels/integer_linear/integer_linear.h"
#include "kernels/operation_testing.h"

namespace oasis {
namespace {

at::Generator generator(uint64_t seed) {
  return at::make_generator<at::CPUGeneratorImpl>(seed);
}

using testing_support::message_of;

at::Tensor draw_scale(at::IntArrayRef shape) {
  return at::rand(shape, generator(3), at::kFloat) * 0.1 + 1e-3;
}

TEST(WeightCodesTest, LieOnTheGrid) {
  const auto w = at::randn({9, 150}, generator(1), at::kFloat);
  for (const int64_t bits : {2, 4, 8}) {
    const int64_t most = (1 << (bits - 1)) - 1;
    for (const auto& scale :
         {at::full({1}, 0.3, at::kFloat), draw_scale({9}), draw_scale({9, 3})}) {
      const auto q = quantize_weight(w, scale, bits);
      for (int64_t n = 0; n < 9; ++n) {
        for (int64_t k = 0; k < 150; ++k) {
          const auto s = (scale.dim() == 2     ? scale[n][k / 64]
                          : scale.numel() == 1 ? scale[0]
                                               : scale[n])
                             .item<float>();
          const float exact = std::nearbyint(w[n][k].item<float>() / s);
          ASSERT_EQ(q[n][k].item<int64_t>(),
                    static_cast<int64_t>(std::clamp(exact, static_cast<float>(-most - 1),
                                                    static_cast<float>(most))));
        }
      }
    }
  }
}

TEST(WeightCodesTest, NibblesComeBack) {
  for (const int64_t K : {1, 2, 33, 64}) {
    const auto q = at::randint(-8, 8, {5, K}, generator(1), at::kChar);
    const auto packed = pack_nibbles(q);
    EXPECT_EQ(packed.sizes(), (at::IntArrayRef{5, (K + 1) / 2}));
    EXPECT_TRUE(at::equal(unpack_nibbles(packed, K), q));
    EXPECT_TRUE(at::equal(weight_sums(packed, K, true), weight_sums(q, K, true)));
  }
  // Even k in the low half of a byte.
  const auto byte = pack_nibbles(at::arange(-3, 1, 4, at::kChar).view({1, 1}));
  EXPECT_EQ(byte.item<int64_t>(), 0x0d);
  EXPECT_NE(message_of([] {
              pack_nibbles(at::full({1, 1}, 8, at::kChar));
            }).find("between -8 and 7"),
            std::string::npos);
}

TEST(WeightCodesTest, SumsAreThoseOfEachGroup) {
  const auto q = at::randint(-128, 128, {4, 130}, generator(1), at::kChar);
  const auto wide = q.to(at::kLong);
  EXPECT_TRUE(at::equal(weight_sums(q, 130, false).to(at::kLong), wide.sum(1)));
  const auto sums = weight_sums(q, 130, true).to(at::kLong);
  EXPECT_EQ(sums.size(1), 3);
  EXPECT_TRUE(at::equal(sums.select(1, 1), wide.narrow(1, 64, 64).sum(1)));
  EXPECT_TRUE(at::equal(sums.select(1, 2), wide.narrow(1, 128, 2).sum(1)));
}

}  // namespace
}  // namespace oasis
