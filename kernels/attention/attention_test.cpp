#include "kernels/attention/attention.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <functional>

#include "kernels/attention/attention_paths.h"
#include "kernels/attention/attention_reference.h"

namespace oasis {
namespace {

using attention_paths::Forward;
using attention_paths::Gradients;
using attention_paths::Problem;

struct Shape {
  std::int64_t B, H, Hkv, T, d;
};

const Shape kShapes[] = {
    {1, 1, 1, 1, 4}, {2, 3, 3, 7, 8}, {1, 4, 2, 130, 16}, {1, 3, 1, 64, 5}, {1, 2, 2, 200, 16}};

NormalizerSpec spec_of(Normalizer kind, std::int64_t length) {
  return {kind, 1.0, kind == Normalizer::kClippedSoftmax ? -4.0 / static_cast<double>(length) : 0};
}

const Normalizer kKinds[] = {Normalizer::kSoftmax, Normalizer::kSoftmax1,
                             Normalizer::kClippedSoftmax, Normalizer::kSparsemax,
                             Normalizer::kEntmax15};

enum class Gradient { kBoth, kNullOnly, kZeroRows };

// Inputs representable in float32, laid out as a model's projections leave them: [B,T,H,d] in
// memory. `reach` scales the logits, `shift` moves all of them.
struct Case {
  Case(const Shape& shape, Normalizer kind, double reach = 1, double shift = 0) {
    at::manual_seed(static_cast<std::uint64_t>(shape.T * 31 + shape.d));
    const auto draw = [&](std::int64_t heads) {
      return at::randn({shape.B, shape.T, heads, shape.d}, at::kFloat)
          .transpose(1, 2)
          .to(at::kDouble);
    };
    problem = {draw(shape.H), draw(shape.Hkv), draw(shape.Hkv), spec_of(kind, shape.T),
               1 / std::sqrt(static_cast<double>(shape.d))};
    problem.q = (problem.q * reach).to(at::kFloat).to(at::kDouble);
    if (shift != 0) {  // q and k agree in one coordinate
      problem.q.select(-1, 0).fill_(1);
      problem.k.select(-1, 0).fill_(shift / problem.scale);
    }
    grad_context = draw(shape.H);
    grad_null = draw(shape.H).select(-1, 0).contiguous();
  }

  Case& with(Gradient gradient) {
    if (gradient == Gradient::kNullOnly) grad_context = at::zeros_like(grad_context);
    if (gradient == Gradient::kZeroRows) {
      grad_context.slice(2, 0, grad_context.size(2), 2).zero_();
    }
    return *this;
  }

  Problem as(at::ScalarType type) const {
    return {problem.q.to(type), problem.k.to(type), problem.v.to(type), problem.spec,
            problem.scale};
  }

  Problem problem;
  at::Tensor grad_context;
  at::Tensor grad_null;
};

struct Results {
  at::Tensor context, null_posterior, q, k, v;
};

Results reference_of(const Case& c) {
  const auto& p = c.problem;
  const auto forward = reference::attention(p.q, p.k, p.v, p.spec, p.scale);
  const auto backward =
      reference::attention_backward(p.q, p.k, p.v, p.spec, p.scale, c.grad_context, c.grad_null);
  return {forward.context, forward.null_posterior, backward.q, backward.k, backward.v};
}

struct Path {
  const char* name;
  Forward (*forward)(const Problem&);
  Gradients (*backward)(const Problem&, const std::vector<at::Tensor>&, const at::Tensor&,
                        const at::Tensor&);
};

constexpr Path kTiled{"tiled", attention_paths::tiled_forward, attention_paths::tiled_backward};
constexpr Path kFlash{"flash", attention_paths::flash_forward, attention_paths::flash_backward};
constexpr Path kComposed{"composed", attention_paths::composed_forward,
                         attention_paths::composed_backward};

Results run(const Path& path, const Case& c, at::ScalarType type) {
  const auto problem = c.as(type);
  const auto forward = path.forward(problem);
  const auto backward =
      path.backward(problem, forward.saved, c.grad_context.to(type), c.grad_null.to(type));
  return {forward.context, forward.null_posterior, backward.q, backward.k, backward.v};
}

double error(const at::Tensor& found, const at::Tensor& expected) {
  return (found.to(at::kDouble) - expected).norm().item<double>();
}

// Beside each norm stands the size of the terms that cancel in it: with one key, dq and dk are
// exactly zero under softmax.
void expect_close(const Results& found, const Results& expected, const Case& c, double tolerance) {
  const double terms = c.grad_context.norm().item<double>() + c.grad_null.norm().item<double>();
  const auto bound = [&](const at::Tensor& x, double floor) {
    return tolerance * std::max(x.norm().item<double>(), floor);
  };
  EXPECT_LE(error(found.context, expected.context), bound(expected.context, 1e-30));
  EXPECT_LE(error(found.null_posterior, expected.null_posterior),
            bound(expected.null_posterior, 1e-30));
  EXPECT_LE(error(found.q, expected.q), bound(expected.q, terms));
  EXPECT_LE(error(found.k, expected.k), bound(expected.k, terms));
  EXPECT_LE(error(found.v, expected.v), bound(expected.v, 1e-30));
}

std::vector<Path> paths_of(Normalizer kind) {
  const bool flash = kind == Normalizer::kSoftmax || kind == Normalizer::kSoftmax1;
  return flash ? std::vector<Path>{kTiled, kFlash, kComposed}
               : std::vector<Path>{kTiled, kComposed};
}

void for_all(const std::function<void(const Shape&, Normalizer, const Path&)>& check) {
  for (const auto& shape : kShapes) {
    for (const auto kind : kKinds) {
      for (const auto& path : paths_of(kind)) {
        SCOPED_TRACE(testing::Message() << path.name << " " << normalizer_name(kind) << " T "
                                        << shape.T << " H " << shape.H << "/" << shape.Hkv);
        check(shape, kind, path);
      }
    }
  }
}

TEST(AttentionTest, EveryPathMatchesTheReference) {
  for_all([](const Shape& shape, Normalizer kind, const Path& path) {
    const Case c(shape, kind, 2);
    const auto expected = reference_of(c);
    expect_close(run(path, c, at::kDouble), expected, c, 1e-13);
    expect_close(run(path, c, at::kFloat), expected, c, 2e-6);
  });
}

TEST(AttentionTest, GradientThroughTheNullPosterior) {
  for (const auto gradient : {Gradient::kNullOnly, Gradient::kZeroRows}) {
    for (const auto& shape : kShapes) {
      for (const auto& path : paths_of(Normalizer::kSoftmax1)) {
        // Logits around −3: few keys, most of the weight on the null option.
        auto c = Case(shape, Normalizer::kSoftmax1, 1, -3).with(gradient);
        const auto expected = reference_of(c);
        ASSERT_GT(expected.q.norm().item<double>(), 0.01);
        SCOPED_TRACE(testing::Message() << path.name << " T " << shape.T);
        expect_close(run(path, c, at::kDouble), expected, c, 1e-13);
        expect_close(run(path, c, at::kFloat), expected, c, 2e-6);
      }
    }
  }
}

TEST(AttentionTest, NullGradientFarAboveTheOther) {
  for (const double weight : {1e3, 1e18}) {
    for (const auto& path : paths_of(Normalizer::kSoftmax1)) {
      Case c({1, 2, 2, 33, 8}, Normalizer::kSoftmax1, 1, -1);
      c.grad_context = c.grad_context / weight;
      SCOPED_TRACE(testing::Message() << path.name << " weight " << weight);
      const auto expected = reference_of(c);
      expect_close(run(path, c, at::kDouble), expected, c, 1e-13);
      expect_close(run(path, c, at::kFloat), expected, c, 2e-6);
    }
  }
}

TEST(AttentionTest, LargeLogits) {
  for (const auto kind : kKinds) {
    for (const double shift : {-1e4, 1e4}) {
      const Case c({1, 2, 2, 33, 8}, kind, 1, shift);
      const auto expected = reference_of(c);
      SCOPED_TRACE(testing::Message() << normalizer_name(kind) << " shift " << shift);
      // float32 scores near 1e4 are rounded to 1e-3 before any normaliser sees them.
      expect_close(run(kTiled, c, at::kDouble), expected, c, 1e-10);
      const auto found = run(kTiled, c, at::kFloat);
      EXPECT_LE(error(found.context, expected.context),
                4e-3 * std::max(1.0, expected.context.norm().item<double>()));
      for (const auto& grad : {found.q, found.k, found.v}) {
        EXPECT_TRUE(grad.isfinite().all().item<bool>());
      }
    }
  }
}

TEST(AttentionTest, Float32LosesAtMostTwiceWhatLibTorchLoses) {
  const Case c({2, 4, 4, 130, 32}, Normalizer::kSoftmax, 3);
  const auto expected = reference_of(c);
  const auto p = c.as(at::kFloat);
  const auto library =
      at::scaled_dot_product_attention(p.q, p.k, p.v, {}, 0.0, /*is_causal=*/true, p.scale);
  const auto q = p.q.detach().requires_grad_();
  const auto k = p.k.detach().requires_grad_();
  const auto v = p.v.detach().requires_grad_();
  const auto grads = torch::autograd::grad(
      {at::scaled_dot_product_attention(q, k, v, {}, 0.0, /*is_causal=*/true, p.scale)}, {q, k, v},
      {c.grad_context.to(at::kFloat)});
  const auto found = run(kTiled, c, at::kFloat);
  EXPECT_LE(error(found.context, expected.context), 2 * error(library, expected.context));
  EXPECT_LE(error(found.q, expected.q), 2 * error(grads[0], expected.q));
  EXPECT_LE(error(found.k, expected.k), 2 * error(grads[1], expected.k));
  EXPECT_LE(error(found.v, expected.v), 2 * error(grads[2], expected.v));
}

TEST(AttentionTest, OperatorRecordsItsGradient) {
  for (const auto kind : kKinds) {
    const Case c({2, 4, 2, 19, 6}, kind, 2);
    const auto expected = reference_of(c);
    const auto& p = c.problem;
    const auto q = p.q.detach().requires_grad_();
    const auto k = p.k.detach().requires_grad_();
    const auto v = p.v.detach().requires_grad_();
    const auto [context, null] = attention(q, k, v, p.spec, p.scale);
    const auto grads =
        torch::autograd::grad({context, null}, {q, k, v}, {c.grad_context, c.grad_null});
    expect_close({context, null, grads[0], grads[1], grads[2]}, expected, c, 1e-13);

    // One output alone, with a gradient that is a broadcast scalar.
    const auto [again, unused] = attention(q, k, v, p.spec, p.scale);
    const auto of_sum = torch::autograd::grad({again.sum()}, {v});
    Case ones = c;
    ones.grad_context = at::zeros_like(c.grad_context) + 1;
    EXPECT_LE(error(of_sum[0], reference_of(ones).v), 1e-12);
  }
}

TEST(AttentionTest, HalfTypesComputeInFloat32) {
  const Case c({1, 2, 1, 33, 8}, Normalizer::kEntmax15, 2);
  const auto p = c.as(at::kBFloat16);
  const auto expected = reference::attention(p.q, p.k, p.v, p.spec, p.scale);
  const auto [context, null] = attention(p.q, p.k, p.v, p.spec, p.scale);
  EXPECT_EQ(context.scalar_type(), at::kBFloat16);
  EXPECT_EQ(null.scalar_type(), at::kFloat);
  EXPECT_LE(error(context, expected.context), 3e-3 * expected.context.norm().item<double>());
}

TEST(AttentionTest, TheSameTwice) {
  for (const auto kind : kKinds) {
    const Case c({2, 4, 2, 130, 16}, kind);
    const auto first = run(kTiled, c, at::kFloat);
    const auto second = run(kTiled, c, at::kFloat);
    EXPECT_TRUE(at::equal(first.context, second.context));
    EXPECT_TRUE(at::equal(first.k, second.k));
    EXPECT_TRUE(at::equal(first.v, second.v));
  }
}

TEST(AttentionTest, WeightsAgreeWithAttention) {
  for (const auto kind : kKinds) {
    const Case c({2, 2, 2, 37, 8}, kind, 2);
    const auto& p = c.problem;
    const auto q = p.q.detach().requires_grad_();
    const auto [probs, null] =
        attention_weights(at::matmul(q, p.k.transpose(-1, -2)) * p.scale, p.spec);
    EXPECT_EQ(probs.triu(1).abs().max().item<double>(), 0);
    const auto context = at::matmul(probs, p.v);
    const auto grads = torch::autograd::grad({context, null}, {q}, {c.grad_context, c.grad_null});
    const auto expected = reference_of(c);
    EXPECT_LE(error(context, expected.context), 1e-12) << normalizer_name(kind);
    EXPECT_LE(error(null, expected.null_posterior), 1e-12);
    EXPECT_LE(error(grads[0], expected.q), 1e-11);
  }
}

TEST(AttentionTest, WhatStandsAheadIsNotRead) {
  auto scores = at::randn({1, 9, 9}, at::kDouble);
  const auto before = attention_weights(scores, {Normalizer::kSparsemax});
  scores.select(-1, 8).slice(1, 0, 8).fill_(std::nan(""));
  const auto after = attention_weights(scores, {Normalizer::kSparsemax});
  EXPECT_TRUE(at::equal(std::get<0>(before), std::get<0>(after)));
}

TEST(AttentionTest, BadInputIsNamed) {
  const auto q = at::randn({1, 4, 5, 8});
  const auto k = at::randn({1, 3, 5, 8});
  const NormalizerSpec spec;
  const auto message = [&](const std::function<void()>& call) -> std::string {
    try {
      call();
    } catch (const c10::Error& error) {
      return error.what_without_backtrace();
    }
    return "no error";
  };
  EXPECT_NE(message([&] { attention(q, k, k, spec, 1); }).find("4 heads of q"), std::string::npos);
  EXPECT_NE(message([&] { attention(q, q, q.slice(2, 0, 4), spec, 1); }).find("v must be"),
            std::string::npos);
  EXPECT_NE(message([&] { attention(q, q.to(at::kDouble), q, spec, 1); }).find("share one type"),
            std::string::npos);
  EXPECT_NE(message([&] { attention(q, q, q, spec, std::nan("")); }).find("scale"),
            std::string::npos);
  EXPECT_NE(message([&] { attention_weights(q, spec); }).find("[...,T,T]"), std::string::npos);
}

}  // namespace
}  // namespace oasis
