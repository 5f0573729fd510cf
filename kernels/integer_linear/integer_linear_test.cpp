#include "kernels/integer_linear/integer_linear.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/integer_linear/integer_linear_reference.h"
#include "kernels/integer_linear/integer_panels.h"
#include "kernels/operation_testing.h"

namespace oasis {
namespace {

using testing_support::message_of;

at::Generator generator(uint64_t seed) {
  return at::make_generator<at::CPUGeneratorImpl>(seed);
}

at::Tensor codes(int64_t lowest, int64_t highest, at::IntArrayRef shape, uint64_t seed) {
  return at::randint(lowest, highest + 1, shape, generator(seed), at::kChar);
}

int64_t groups(int64_t K) {
  return (K + kWeightGroup - 1) / kWeightGroup;
}

enum class Scales { kTensor, kRow, kGroup };

at::Tensor weight_scale(Scales kind, int64_t N, int64_t K) {
  const auto draw = [](at::IntArrayRef shape) {
    return at::rand(shape, generator(3), at::kFloat) * 0.1 + 1e-3;
  };
  return kind == Scales::kTensor ? draw({1})
         : kind == Scales::kRow  ? draw({N})
                                 : draw({N, groups(K)});
}

struct Problem {
  QuantizedActivations x;
  IntegerWeight weight;
  at::Tensor bias;
};

struct Shape {
  int64_t M, N, K;
};

Problem problem(const Shape& shape, Scales kind, bool packed, bool by_row, bool extreme) {
  const auto [M, N, K] = shape;
  Problem p;
  p.x.zero = by_row ? 0 : (extreme ? 127 : -37);
  p.x.codes = extreme ? at::full({M, K}, -128, at::kChar) : codes(-128, 127, {M, K}, 1);
  p.x.scale = at::rand({by_row ? M : 1}, generator(2), at::kFloat) + 0.01;
  const int64_t most = packed ? 7 : 127;
  auto w = extreme ? at::full({N, K}, -most - 1, at::kChar) : codes(-most - 1, most, {N, K}, 4);
  p.weight = make_integer_weight(packed ? pack_nibbles(w) : w, weight_scale(kind, N, K), K);
  if (!extreme) p.bias = at::randn({N}, generator(5), at::kFloat);
  return p;
}

const std::vector<Shape> kShapes = {{1, 1, 1},     {1, 5, 63},      {3, 17, 64},
                                    {8, 33, 65},   {9, 16, 130},    {13, 40, 7},
                                    {25, 50, 577}, {101, 18, 1090}, {7, 96, 576}};

// Every mode and path gives the reference's bits.
TEST(IntegerLinearTest, GivesTheReferencesBits) {
  for (const auto& shape : kShapes) {
    for (const auto kind : {Scales::kTensor, Scales::kRow, Scales::kGroup}) {
      for (const bool packed : {false, true}) {
        for (const bool by_row : {false, true}) {
          for (const bool extreme : {false, true}) {
            SCOPED_TRACE(testing::Message()
                         << "M " << shape.M << " N " << shape.N << " K " << shape.K << " scales "
                         << static_cast<int>(kind) << " packed " << packed << " by row " << by_row
                         << " extreme " << extreme);
            const auto p = problem(shape, kind, packed, by_row, extreme);
            const auto expected = reference::integer_linear(p.x, p.weight, p.bias, at::kFloat);
            for (const auto type : {at::kFloat, at::kBFloat16}) {
              const auto y = integer_linear(p.x, p.weight, p.bias, type);
              EXPECT_EQ(y.scalar_type(), type);
              EXPECT_TRUE(at::equal(y, expected.to(type)));
            }
          }
        }
      }
    }
  }
}

// By hand: Σ (q − zero)·w = (3 − 1)·2 + (−1 − 1)·5 = −6, and −6·(0.5·0.25) + 1 = 0.25.
TEST(IntegerLinearTest, ReferenceFollowsTheDefinition) {
  const QuantizedActivations x{at::arange(3, -2, -4, at::kChar).view({1, 2}),
                               at::full({1}, 0.5, at::kFloat), 1};
  const auto w = at::arange(2, 6, 3, at::kChar).view({1, 2});
  for (const auto& codes : {w, pack_nibbles(w)}) {
    for (const auto& scale :
         {at::full({1}, 0.25, at::kFloat), at::full({1, 1}, 0.25, at::kFloat)}) {
      const auto weight = make_integer_weight(codes, scale, 2);
      const auto bias = at::ones({1});
      EXPECT_EQ(reference::integer_linear(x, weight, bias, at::kFloat).item<float>(), 0.25F);
      EXPECT_EQ(integer_linear(x, weight, bias, at::kFloat).item<float>(), 0.25F);
    }
  }
}

// As long as sums may be, all at their extremes: 255·128·65,536 = 2,139,095,040 fits int32.
TEST(IntegerLinearTest, LongestSumsDoNotOverflow) {
  for (const int64_t M : {1, 12}) {
    const QuantizedActivations x{at::full({M, kMostIntegerInputs}, 127, at::kChar),
                                 at::ones({1}, at::kFloat), -128};
    const auto weight = make_integer_weight(at::full({2, kMostIntegerInputs}, -128, at::kChar),
                                            at::ones({1}, at::kFloat), kMostIntegerInputs);
    const auto y = integer_linear(x, weight, {}, at::kFloat);
    EXPECT_EQ(y.min().item<float>(), -2139095040.0F);
    EXPECT_EQ(y.max().item<float>(), -2139095040.0F);
  }
}

TEST(IntegerLinearTest, EveryInstructionSetGivesTheSameSums) {
  constexpr int64_t kPanels = 3, kPairs = 37;
  const auto rows =
      at::randint(-255, 256, {kPanels * kPairs * kPanelRows * 2}, generator(1), at::kShort);
  const auto columns =
      at::randint(-128, 128, {kPairs * kPanelColumns * 2}, generator(2), at::kShort);
  std::vector<std::vector<int32_t>> results;
  for (const auto& set : all_pair_instructions()) {
    results.emplace_back(kPanels * kPanelRows * kPanelColumns, 5);
    set.multiply_panels(rows.const_data_ptr<int16_t>(), kPairs * kPanelRows * 2, kPanels,
                        columns.const_data_ptr<int16_t>(), kPairs, results.back().data());
  }
  const auto* a = rows.const_data_ptr<int16_t>();
  const auto* b = columns.const_data_ptr<int16_t>();
  for (int64_t m = 0; m < kPanels * kPanelRows; ++m) {
    for (int64_t n = 0; n < kPanelColumns; ++n) {
      int32_t sum = 5;
      for (int64_t k = 0; k < 2 * kPairs; ++k) {
        const auto row = m / kPanelRows * kPairs * kPanelRows * 2 +
                         (k / 2 * kPanelRows + m % kPanelRows) * 2 + k % 2;
        sum += a[row] * b[(k / 2 * kPanelColumns + n) * 2 + k % 2];
      }
      for (const auto& result : results) {
        ASSERT_EQ(result[static_cast<size_t>(m * kPanelColumns + n)], sum) << m << " " << n;
      }
    }
  }
}

TEST(IntegerLinearTest, EveryInstructionSetMultipliesRowsAlike) {
  constexpr int64_t kStride = 96;
  const auto rows = at::randint(-255, 256, {9 * kStride}, generator(1), at::kShort);
  const auto column = at::randint(-128, 128, {kStride}, generator(2), at::kShort);
  const auto* a = rows.const_data_ptr<int16_t>();
  const auto* b = column.const_data_ptr<int16_t>();
  for (const auto& set : all_pair_instructions()) {
    for (int64_t count = 1; count <= 9; ++count) {
      for (const int64_t n : {16, 48, 64, 96}) {
        std::vector<int32_t> sums(static_cast<size_t>(count) + 1, 5);
        set.multiply_rows(a, kStride, count, b, n, sums.data());
        EXPECT_EQ(sums.back(), 5) << set.name;
        for (int64_t m = 0; m < count; ++m) {
          int32_t sum = 0;
          for (int64_t k = 0; k < n; ++k) sum += a[m * kStride + k] * b[k];
          ASSERT_EQ(sums[static_cast<size_t>(m)], sum) << set.name << " row " << m << " n " << n;
        }
      }
    }
  }
}

TEST(IntegerLinearTest, ThreadsDoNotMatter) {
  const int before = at::get_num_threads();
  for (const int64_t M : {4, 130}) {
    const auto p = problem({M, 70, 200}, Scales::kGroup, true, true, false);
    at::set_num_threads(1);
    const auto alone = integer_linear(p.x, p.weight, p.bias, at::kFloat);
    at::set_num_threads(2);
    EXPECT_TRUE(at::equal(alone, integer_linear(p.x, p.weight, p.bias, at::kFloat)));
  }
  at::set_num_threads(before);
}

TEST(IntegerLinearTest, StridesDoNotMatter) {
  const auto p = problem({12, 20, 77}, Scales::kRow, false, true, false);
  const auto transposed = [](const at::Tensor& x) { return x.t().contiguous().t(); };
  const QuantizedActivations x{transposed(p.x.codes), p.x.scale, p.x.zero};
  IntegerWeight weight = p.weight;
  weight.codes = transposed(weight.codes);
  EXPECT_TRUE(at::equal(integer_linear(x, weight, p.bias, at::kFloat),
                        integer_linear(p.x, p.weight, p.bias, at::kFloat)));
}

TEST(IntegerLinearTest, NoRowsGiveNoRows) {
  const auto p = problem({1, 20, 77}, Scales::kRow, false, false, false);
  const auto x = quantize_static(at::zeros({0, 77}), -1, 1, 8);
  EXPECT_EQ(integer_linear(x, p.weight, p.bias, at::kFloat).sizes(), (at::IntArrayRef{0, 20}));
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

TEST(WeightCodesTest, LieOnTheGrid) {
  const auto w = at::randn({9, 150}, generator(1), at::kFloat);
  for (const int64_t bits : {2, 4, 8}) {
    const int64_t most = (1 << (bits - 1)) - 1;
    for (const auto& scale : {at::full({1}, 0.3, at::kFloat), weight_scale(Scales::kRow, 9, 150),
                              weight_scale(Scales::kGroup, 9, 150)}) {
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
    const auto q = codes(-8, 7, {5, K}, 1);
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
  const auto q = codes(-128, 127, {4, 130}, 1);
  const auto wide = q.to(at::kLong);
  EXPECT_TRUE(at::equal(weight_sums(q, 130, false).to(at::kLong), wide.sum(1)));
  const auto sums = weight_sums(q, 130, true).to(at::kLong);
  EXPECT_EQ(sums.size(1), 3);
  EXPECT_TRUE(at::equal(sums.select(1, 1), wide.narrow(1, 64, 64).sum(1)));
  EXPECT_TRUE(at::equal(sums.select(1, 2), wide.narrow(1, 128, 2).sum(1)));
}

TEST(IntegerLinearTest, SaysWhatIsWrong) {
  const auto p = problem({2, 3, 10}, Scales::kRow, false, false, false);
  const auto message = [&](auto change) {
    auto q = p;
    auto type = at::kFloat;
    change(q, type);
    return message_of([&] { integer_linear(q.x, q.weight, q.bias, type); });
  };
  const auto has = [](const std::string& text, const char* part) {
    return text.find(part) != std::string::npos ? std::string(part) : text;
  };
  const std::vector<std::pair<const char*, std::function<void(Problem&, at::ScalarType&)>>> cases =
      {{"codes must be int8", [](auto& q, auto&) { q.x.codes = q.x.codes.to(at::kFloat); }},
       {"the weight has 10", [](auto& q, auto&) { q.x.codes = q.x.codes.narrow(1, 0, 9); }},
       {"scale must be float32 [1] or [M]", [](auto& q, auto&) { q.x.scale = at::ones({3}); }},
       {"zero must lie between", [](auto& q, auto&) { q.x.zero = 128; }},
       {"weight's scale must be", [](auto& q, auto&) { q.weight.scale = at::ones({4}); }},
       {"weight_sums must be", [](auto& q, auto&) { q.weight.sums = at::ones({3}); }},
       {"bias must be [N]", [](auto& q, auto&) { q.bias = at::ones({4}); }},
       {"float32 or bfloat16", [](auto&, auto& type) { type = at::kHalf; }}};
  for (const auto& [part, change] : cases) EXPECT_EQ(has(message(change), part), part);
  const auto x = at::ones({2, 3});
  EXPECT_EQ(has(message_of([&] { quantize_dynamic(x, 9); }), "between 2 and 8"), "between 2 and 8");
  EXPECT_EQ(has(message_of([&] { quantize_static(x, 1, 0, 8); }), "lo <= hi"), "lo <= hi");
  EXPECT_EQ(has(message_of([&] { quantize_static(x.to(at::kDouble), 0, 1, 8); }), "float16"),
            "float16");
}

}  // namespace
}  // namespace oasis
