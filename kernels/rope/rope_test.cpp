#include "kernels/rope/rope.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/tensor.h>

#include "kernels/operation_testing.h"
#include "kernels/rms_norm/rms_norm.h"
#include "kernels/rope/rope_reference.h"

namespace oasis {
namespace {

using namespace testing_support;

struct Setting {
  double theta = 1e4;
  int64_t offset = 0;
  bool scaled = false;  // divisors and a magnitude of context extension

  // d/2 of them, growing, as extension stretches the slow frequencies most
  std::vector<double> divisors(int64_t d) const {
    std::vector<double> list;
    for (int64_t i = 0; scaled && i < d / 2; ++i) list.push_back(1 + 0.75 * static_cast<double>(i));
    return list;
  }
  double magnitude() const { return scaled ? 1.19 : 1.0; }
};

Operation fast(Setting s) {
  return [=](const Tensors& in) {
    return Tensors{rope(in[0], s.theta, s.offset, s.divisors(in[0].size(3)), s.magnitude())};
  };
}

// Angles in float64, rounded once: the most accurate of the usual formulations.
Operation library(Setting s) {
  return [=](const Tensors& in) {
    const auto& x = in[0];
    const int64_t half = x.size(3) / 2;
    const at::TensorOptions wide(at::kDouble);
    auto frequency = at::pow(s.theta, -at::arange(half, wide) / static_cast<double>(half));
    if (s.scaled) frequency = frequency / at::tensor(s.divisors(x.size(3)), wide);
    const auto angle = at::outer(at::arange(x.size(2), wide) + s.offset, frequency);
    const auto c = (s.magnitude() * angle.cos()).to(x.scalar_type());
    const auto sn = (s.magnitude() * angle.sin()).to(x.scalar_type());
    const auto low = x.narrow(3, 0, half), high = x.narrow(3, half, half);
    return Tensors{at::cat({low * c - high * sn, high * c + low * sn}, 3)};
  };
}

Reference reference_of(Setting s) {
  return [=](const Tensors& in, const Tensors& cotangents) {
    const auto divisors = s.divisors(in[0].size(3));
    return Outcome{
        {reference::rope(in[0], s.theta, s.offset, divisors, s.magnitude())},
        {reference::rope_backward(cotangents[0], s.theta, s.offset, divisors, s.magnitude())}};
  };
}

DrawCase cases(std::vector<int64_t> shape) {
  return [=](uint64_t seed) {
    return Case{{draw(shape, 1, 2 * seed)}, {draw(shape, 1, 2 * seed + 1)}};
  };
}

TEST(RopeTest, MatchesTheReference) {
  for (const auto& shape : std::vector<std::vector<int64_t>>{
           {1, 1, 1, 2}, {2, 3, 7, 8}, {1, 2, 130, 6}, {3, 1, 17, 22}, {1, 4, 33, 64}}) {
    for (const Setting s : {Setting{1e4, 0}, Setting{5e5, 0}, Setting{1e4, 3}, Setting{1e6, 911},
                            Setting{1e4, 5, /*scaled=*/true}}) {
      SCOPED_TRACE(testing::Message() << "shape " << at::IntArrayRef(shape) << " theta " << s.theta
                                      << " offset " << s.offset << " scaled " << s.scaled);
      expect_matches(fast(s), library(s), reference_of(s), cases(shape));
    }
  }
}

TEST(RopeTest, AnOffsetContinuesASequence) {
  const auto x = draw({2, 3, 20, 8}, 1, 0);
  const auto whole = rope(x, 1e4);
  EXPECT_TRUE(at::equal(rope(x.narrow(2, 5, 15), 1e4, 5), whole.narrow(2, 5, 15)));
}

TEST(RopeTest, PositionZeroIsUnturned) {
  const auto x = draw({1, 2, 1, 10}, 1, 0);
  EXPECT_TRUE(at::equal(rope(x, 1e4), x));
}

TEST(RopeTest, StridesOfTheInputStay) {
  const auto x = draw({2, 9, 3, 8}, 1, 0).transpose(1, 2);  // [B, H, T, d], heads innermost
  const auto y = rope(x, 1e4);
  EXPECT_EQ(y.strides(), x.strides());
  EXPECT_TRUE(at::equal(y, rope(x.contiguous(), 1e4)));
  const auto cut = draw({2, 3, 9, 20}, 1, 1).narrow(3, 4, 8);  // neither dense nor contiguous
  EXPECT_TRUE(at::equal(rope(cut, 1e4), rope(cut.contiguous(), 1e4)));
  const auto flipped = draw({2, 3, 8, 9}, 1, 1).transpose(2, 3);  // no unit stride in d
  EXPECT_TRUE(at::equal(rope(flipped, 1e4), rope(flipped.contiguous(), 1e4)));
}

TEST(RopeTest, BehindANormOfEachHead) {
  const auto x = draw({2, 9, 3, 8}, 1, 0).transpose(1, 2), weight = draw({8}, 1, 1);
  const auto y = rms_norm_rope(x, weight, 1e-6, 1e4, 3);
  EXPECT_TRUE(at::equal(y, rope(rms_norm(x, weight, 1e-6), 1e4, 3)));
  EXPECT_EQ(y.strides(), x.strides());
  EXPECT_NE(
      message_of([&] { rms_norm_rope(x, draw({4}, 1, 1), 1e-6, 1e4); }).find("weight must be [8]"),
      std::string::npos);
}

// Each sequence as if it were alone at its offset.
TEST(RopeTest, PositionsPerSequence) {
  const auto x = draw({3, 5, 2, 8}, 1, 0).transpose(1, 2), weight = draw({8}, 1, 1);
  const std::vector<double> divisors = {1, 1.5, 2, 3};
  const SequencePositions positions{at::tensor({7, 0, 95}, at::kLong), 100};
  const auto plain = rope_at(x, {}, 0, 1e4, positions, divisors, 1.19);
  const auto normed = rope_at(x, weight, 1e-6, 1e4, positions, divisors, 1.19);
  EXPECT_EQ(plain.strides(), x.strides());
  for (int64_t b = 0; b < 3; ++b) {
    const auto one = x.narrow(0, b, 1);
    const auto offset = positions.first[b].item<int64_t>();
    EXPECT_TRUE(at::equal(plain.narrow(0, b, 1), rope(one, 1e4, offset, divisors, 1.19)));
    EXPECT_TRUE(at::equal(normed.narrow(0, b, 1),
                          rms_norm_rope(one, weight, 1e-6, 1e4, offset, divisors, 1.19)));
  }
  EXPECT_NE(message_of([&] {
              rope_at(x, {}, 0, 1e4, {at::tensor({7, 0, 96}, at::kLong), 100});
            }).find("positions 96 to 100 of sequence 2"),
            std::string::npos);
}

TEST(RopeTest, GradientOfStridedInput) {
  const Setting s{1e4, 2};
  const auto swapped = [](const Operation& operation) -> Operation {
    return [=](const Tensors& in) { return operation({in[0].transpose(1, 2)}); };
  };
  const auto reference = [=](const Tensors& in, const Tensors& cotangents) {
    auto out = reference_of(s)({in[0].transpose(1, 2)}, cotangents);
    out.gradients[0] = out.gradients[0].transpose(1, 2);
    return out;
  };
  expect_matches(swapped(fast(s)), swapped(library(s)), reference, [](uint64_t seed) {
    return Case{{draw({2, 7, 3, 6}, 1, 2 * seed)}, {draw({2, 3, 7, 6}, 1, 2 * seed + 1)}};
  });
}

TEST(RopeTest, TheSameOnAnyNumberOfThreads) {
  expect_independent_of_threads(fast({}), cases({3, 2, 101, 12})(0));
}

TEST(RopeTest, BadShapesAreNamed) {
  EXPECT_NE(message_of([] {
              rope(at::randn({2, 3, 4}), 1e4);
            }).find("[B, H, T, d]"),
            std::string::npos);
  EXPECT_NE(message_of([] {
              rope(at::randn({1, 2, 3, 5}), 1e4);
            }).find("not [1, 2, 3, 5]"),
            std::string::npos);
  EXPECT_NE(message_of([] {
              rope(at::randn({1, 2, 3, 6}), 1e4, 0, std::vector<double>{1, 2});
            }).find("must hold d/2 = 3 numbers, not 2"),
            std::string::npos);
}

}  // namespace
}  // namespace oasis
