#include "kernels/decode_attention/decode_attention.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/attention/attention_reference.h"

namespace oasis {
namespace {

const Normalizer kKinds[] = {Normalizer::kSoftmax, Normalizer::kSoftmax1,
                             Normalizer::kClippedSoftmax, Normalizer::kSparsemax,
                             Normalizer::kEntmax15};

struct Shape {
  int64_t H, Hkv, C, d;
  std::vector<int64_t> positions;
};

const Shape kShapes[] = {{1, 1, 1, 4, {0}},
                         {3, 3, 9, 8, {8, 0, 3}},
                         {4, 2, 131, 16, {130, 64, 1, 77}},
                         {9, 3, 70, 5, {69, 12}},
                         {8, 1, 300, 64, {150}}};

// Values that float32 holds exactly; NaN in the cache wherever it must not be read.
struct Case {
  Case(const Shape& shape, Normalizer kind, double reach)
      : spec{kind, 1.0, kind == Normalizer::kClippedSoftmax ? -0.02 : 0.0},
        scale(1 / std::sqrt(static_cast<double>(shape.d))),
        positions(at::tensor(shape.positions, at::kLong)) {
    at::manual_seed(static_cast<uint64_t>(shape.C + shape.d));
    const auto B = positions.size(0);
    const auto draw = [&](at::IntArrayRef size) { return at::randn(size, at::kFloat); };
    // As projections leave them: [B,1,heads,d] in memory.
    q = (draw({B, 1, shape.H, shape.d}) * reach).to(at::kFloat).transpose(1, 2);
    k = draw({B, 1, shape.Hkv, shape.d}).transpose(1, 2);
    v = draw({B, 1, shape.Hkv, shape.d}).transpose(1, 2);
    keys = draw({B, shape.Hkv, shape.C, shape.d});
    values = draw({B, shape.Hkv, shape.C, shape.d});
    for (int64_t b = 0; b < B; ++b) {
      for (const auto& cache : {keys, values}) {
        cache[b].slice(1, shape.positions[static_cast<size_t>(b)]).fill_(kUnread);
      }
    }
  }

  static constexpr double kUnread = std::numeric_limits<double>::quiet_NaN();
  NormalizerSpec spec;
  double scale;
  at::Tensor positions, q, k, v, keys, values;
};

// Row p of causal attention over the p + 1 positions of sequence b.
reference::Attention expected(const Case& c, int64_t b) {
  const auto p = c.positions[b].item<int64_t>();
  const auto with_new = [&](const at::Tensor& cache, const at::Tensor& added) {
    return at::cat({cache.narrow(0, b, 1).narrow(2, 0, p), added.narrow(0, b, 1)}, 2);
  };
  const auto query = c.q.narrow(0, b, 1);
  auto queries = at::zeros({1, query.size(1), p + 1, query.size(3)}, query.options());
  queries.select(2, p).copy_(query.select(2, 0));
  const auto all = reference::attention(queries, with_new(c.keys, c.k), with_new(c.values, c.v),
                                        c.spec, c.scale);
  return {all.context.narrow(2, p, 1), all.null_posterior.narrow(2, p, 1)};
}

void expect_row(const at::Tensor& found, const at::Tensor& wanted, double tolerance) {
  const double error = (found.to(at::kDouble) - wanted).norm().item<double>();
  EXPECT_LE(error, tolerance * std::max(wanted.norm().item<double>(), 1e-30));
}

void expect_matches(const Case& c, at::ScalarType type, double tolerance) {
  const auto keys = c.keys.to(type, false, /*copy=*/true);
  const auto values = c.values.to(type, false, /*copy=*/true);
  const auto k = c.k.to(type), v = c.v.to(type);
  const auto [context, rho] =
      decode_attention(c.q.to(type), k, v, keys, values, c.positions, c.spec, c.scale);
  EXPECT_EQ(context.scalar_type(), type);
  for (int64_t b = 0; b < c.positions.size(0); ++b) {
    SCOPED_TRACE(testing::Message() << "sequence " << b);
    const auto row = expected(c, b);
    expect_row(context.narrow(0, b, 1), row.context, tolerance);
    expect_row(rho.narrow(0, b, 1), row.null_posterior, tolerance);
    const auto p = c.positions[b].item<int64_t>();
    EXPECT_TRUE(keys[b].select(1, p).equal(k[b].select(1, 0)));
    EXPECT_TRUE(values[b].select(1, p).equal(v[b].select(1, 0)));
  }
}

TEST(DecodeAttentionTest, IsTheRowOfCausalAttention) {
  for (const auto& shape : kShapes) {
    for (const auto kind : kKinds) {
      for (const double reach : {0.2, 4.0}) {
        SCOPED_TRACE(testing::Message()
                     << normalizer_name(kind) << " C " << shape.C << " reach " << reach);
        const Case c(shape, kind, reach);
        expect_matches(c, at::kDouble, 1e-13);
        expect_matches(c, at::kFloat, 3e-6);
      }
    }
  }
}

// Half types take the compositions; 2^-8 is one rounding of bfloat16. Inputs that it holds exactly.
TEST(DecodeAttentionTest, HalfTypes) {
  for (const auto kind : kKinds) {
    SCOPED_TRACE(std::string(normalizer_name(kind)));
    Case c(kShapes[2], kind, 1);
    for (auto* x : {&c.q, &c.k, &c.v, &c.keys, &c.values}) *x = x->to(at::kBFloat16).to(at::kFloat);
    expect_matches(c, at::kBFloat16, 1.0 / 256);
  }
}

TEST(DecodeAttentionTest, RefusesWhatItCannotRead) {
  Case c(kShapes[1], Normalizer::kSoftmax, 1);
  const auto attend = [&] {
    return decode_attention(c.q, c.k, c.v, c.keys, c.values, c.positions, c.spec, c.scale);
  };
  EXPECT_NO_THROW(attend());
  c.positions[1] = 9;  // beyond the cache
  EXPECT_THROW(attend(), c10::Error);
  c.positions[1] = -1;
  EXPECT_THROW(attend(), c10::Error);
  c.positions = c.positions.to(at::kInt);
  EXPECT_THROW(attend(), c10::Error);
}

}  // namespace
}  // namespace oasis
