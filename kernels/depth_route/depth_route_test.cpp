#include "kernels/depth_route/depth_route.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/cumsum.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include "kernels/depth_route/depth_route_reference.h"
#include "kernels/operation_testing.h"

namespace oasis {
namespace {

using namespace testing_support;

const NormalizerSpec kSpecs[] = {{Normalizer::kSoftmax},
                                 {Normalizer::kSoftmax1},
                                 {Normalizer::kClippedSoftmax, 1.05, -0.1},
                                 {Normalizer::kSparsemax},
                                 {Normalizer::kEntmax15}};

// The normalisers by the textbook: thresholds from sorted logits, gradients by autograd.
at::Tensor library_normalize(const NormalizerSpec& spec, const at::Tensor& g) {
  switch (spec.kind) {
    case Normalizer::kSoftmax:
      return at::softmax(g, -1);
    case Normalizer::kSoftmax1:
      return at::softmax(at::cat({g, at::zeros_like(g.narrow(-1, 0, 1))}, -1), -1)
          .narrow(-1, 0, g.size(-1));
    case Normalizer::kClippedSoftmax:
      return at::clamp(at::softmax(g, -1) * (spec.zeta - spec.gamma) + spec.gamma, 0, 1);
    case Normalizer::kSparsemax:
    case Normalizer::kEntmax15:
      break;
  }
  const bool sparse = spec.kind == Normalizer::kSparsemax;
  const auto z = (g - std::get<0>(g.max(-1, true))) * (sparse ? 1.0 : 0.5);
  const auto sorted = std::get<0>(at::sort(z, -1, /*descending=*/true));
  const auto k = at::arange(1, g.size(-1) + 1, g.options().requires_grad(false));
  const auto sums = at::cumsum(sorted, -1), squares = at::cumsum(sorted * sorted, -1);
  const auto taus = sparse ? (sums - 1) / k
                           : sums / k - at::clamp((sums * sums - k * (squares - 1)), 0).sqrt() / k;
  const auto support = (taus < sorted).sum(-1, /*keepdim=*/true);
  const auto excess = at::clamp(z - taus.gather(-1, support - 1), 0);
  return sparse ? excess : excess * excess;
}

struct Setting {
  DepthRouteOptions options;
  int64_t n = 1;
  bool logit_bias = true;
  bool coupled = true;
};

// Inputs in this order: the n sources, direction, then logit_bias, nulls and beta where present.
DepthRouteInputs inputs_of(const Setting& s, const Tensors& in) {
  auto next = static_cast<size_t>(s.n);
  DepthRouteInputs inputs;
  inputs.direction = in[next++];
  if (s.logit_bias) inputs.logit_bias = in[next++];
  if (s.coupled) {
    inputs.nulls = in[next++];
    inputs.beta = in[next++];
  }
  return inputs;
}

Tensors sources_of(const Setting& s, const Tensors& in) {
  return {in.begin(), in.begin() + s.n};
}

Operation fast(const Setting& s) {
  return [=](const Tensors& in) {
    const auto [routed, weights] = depth_route(sources_of(s, in), inputs_of(s, in), s.options);
    return Tensors{routed, weights};
  };
}

Operation library(const Setting& s) {
  return [=](const Tensors& in) {
    const auto inputs = inputs_of(s, in);
    const auto y = at::stack(sources_of(s, in), 1);  // [M, n, D]
    const auto keys =
        s.options.normalize_keys ? y * (y * y).mean(-1, true).add(s.options.eps).rsqrt() : y;
    auto g = (inputs.direction.unsqueeze(1) * keys).sum(-1) * s.options.scale;
    if (s.logit_bias) g = g + inputs.logit_bias;
    if (s.coupled) {
      const auto nulls = inputs.nulls.t();
      g = g - inputs.beta * (nulls - nulls.mean(-1, true));
    }
    const auto weights =
        library_normalize(s.options.normalizer, at::clamp(g, -kDepthLogitClamp, kDepthLogitClamp));
    return Tensors{(weights.unsqueeze(-1) * y).sum(1), weights};
  };
}

Reference reference_of(const Setting& s) {
  return [=](const Tensors& in, const Tensors& cotangents) {
    const auto sources = sources_of(s, in);
    const auto inputs = inputs_of(s, in);
    const auto forward = reference::depth_route(sources, inputs, s.options);
    auto g =
        reference::depth_route_backward(sources, inputs, s.options, cotangents[0], cotangents[1]);
    g.sources.push_back(g.direction);
    if (s.logit_bias) g.sources.push_back(g.logit_bias);
    if (s.coupled) {
      g.sources.push_back(g.nulls);
      g.sources.push_back(g.beta);
    }
    return Outcome{{forward.routed, forward.weights}, g.sources};
  };
}

struct Size {
  int64_t n, M, D;
};

// `reach` is about the size of the logits.
DrawCase cases(const Setting& s, const Size& size, bool shared_direction, double reach) {
  return [=](uint64_t seed) {
    uint64_t next = 100 * seed;
    Case c;
    for (int64_t i = 0; i < size.n; ++i) c.inputs.push_back(draw({size.M, size.D}, 1, next++));
    c.inputs.push_back(draw({shared_direction ? 1 : size.M, size.D}, reach, next++));
    if (s.logit_bias) c.inputs.push_back(draw({size.n}, 1, next++));
    if (s.coupled) {
      c.inputs.push_back(
          draw({size.n, size.M}, 1, next++).sigmoid().to(at::kFloat).to(at::kDouble));
      c.inputs.push_back(draw({1}, 1, next++).abs());
    }
    c.cotangents = {draw({size.M, size.D}, 1, next++), draw({size.M, size.n}, 1, next++)};
    return c;
  };
}

Setting setting(const NormalizerSpec& spec, const Size& size, bool normalize_keys) {
  Setting s;
  s.options = {spec, 1 / std::sqrt(static_cast<double>(size.D)), normalize_keys, 1e-3};
  s.n = size.n;
  return s;
}

void expect_all_match(const Setting& s, const Size& size, bool shared_direction, double reach) {
  SCOPED_TRACE(testing::Message() << normalizer_name(s.options.normalizer.kind) << " n " << size.n
                                  << " M " << size.M << " D " << size.D
                                  << (s.options.normalize_keys ? " normalised keys" : "")
                                  << (shared_direction ? " shared direction" : "") << " reach "
                                  << reach);
  expect_matches(fast(s), library(s), reference_of(s), cases(s, size, shared_direction, reach),
                 size.n * size.M * size.D > 2000 ? 20 : 200);
}

TEST(DepthRouteTest, EveryNormalizerFormAndSize) {
  for (const auto& spec : kSpecs) {
    for (const Size size : {Size{1, 1, 3}, {1, 7, 8}, {2, 1, 5}, {3, 7, 17}, {9, 130, 12}}) {
      for (const bool normalize_keys : {false, true}) {
        for (const bool shared_direction : {false, true}) {
          expect_all_match(setting(spec, size, normalize_keys), size, shared_direction, 2);
        }
      }
    }
  }
}

TEST(DepthRouteTest, ManySourcesAndChunksOfASharedDirection) {
  const Size size{25, 300, 33};
  for (const auto& spec : kSpecs) {
    auto s = setting(spec, size, true);
    s.coupled = false;
    expect_all_match(s, size, /*shared_direction=*/true, 2);
  }
}

TEST(DepthRouteTest, WithoutBiasOrCoupling) {
  const Size size{4, 11, 20};
  for (const auto& spec : kSpecs) {
    for (const bool logit_bias : {false, true}) {
      for (const bool coupled : {false, true}) {
        auto s = setting(spec, size, false);
        s.logit_bias = logit_bias;
        s.coupled = coupled;
        SCOPED_TRACE(testing::Message() << "bias " << logit_bias << " coupled " << coupled);
        expect_all_match(s, size, false, 1);
      }
    }
  }
}

TEST(DepthRouteTest, LogitsPastTheClamp) {
  const Size size{5, 40, 24};
  for (const auto& spec : {kSpecs[0], kSpecs[1]}) {
    auto s = setting(spec, size, false);
    const auto c = cases(s, size, false, 60)(0);
    const auto forward =
        depth_route_forward(sources_of(s, c.inputs), inputs_of(s, c.inputs), s.options);
    const auto past = forward.logits.abs() > kDepthLogitClamp;
    ASSERT_TRUE(past.any().item<bool>());
    ASSERT_FALSE(past.all().item<bool>());
    expect_all_match(s, size, false, 60);
  }
}

// Logits of exactly ±50 pass their gradient, those beyond pass none, as torch.clamp's.
TEST(DepthRouteTest, TheClampPassesAtItsBound) {
  for (const auto type : {at::kFloat, at::kDouble}) {
    for (const double bound : {50.0, -50.0}) {
      const at::TensorOptions options(type);
      const auto first = at::tensor({bound, 1.0}, options).view({1, 2});
      const auto second = at::tensor({bound * 1.25, 2.0}, options).view({1, 2});
      const auto third = at::tensor({bound, -1.0}, options).view({1, 2});
      const auto bias = at::zeros_like(first.select(1, 0)).expand({3}).contiguous();
      const auto leaf = bias.detach().requires_grad_();
      const auto [routed, weights] = depth_route(
          {first, second, third}, {at::tensor({1.0, 0.0}, options).view({1, 2}), leaf, {}, {}}, {});
      EXPECT_TRUE(at::equal(weights, at::zeros_like(weights) + 1.0 / 3)) << weights;
      const auto weight_gradient = at::tensor({1.0, 0.0, -1.0}, options).view({1, 3});
      const auto gradient = torch::autograd::grad({weights}, {leaf}, {weight_gradient})[0];
      EXPECT_GT(gradient[0].item<double>(), 0.3);
      EXPECT_EQ(gradient[1].item<double>(), 0.0);
      EXPECT_LT(gradient[2].item<double>(), -0.3);
    }
  }
}

TEST(DepthRouteTest, StridedSources) {
  const Size size{3, 10, 12};
  const auto s = setting({Normalizer::kSoftmax1}, size, false);
  const auto turn = [](Tensors in) {
    for (size_t i = 0; i < 4; ++i) in[i] = in[i].t();  // sources and direction
    return in;
  };
  const auto turned = [&](const Operation& operation) -> Operation {
    return [=](const Tensors& in) { return operation(turn(in)); };
  };
  const auto reference = [=](const Tensors& in, const Tensors& cotangents) {
    auto out = reference_of(s)(turn(in), cotangents);
    out.gradients = turn(out.gradients);
    return out;
  };
  expect_matches(turned(fast(s)), turned(library(s)), reference, [=](uint64_t seed) {
    auto c = cases(s, size, false, 1)(seed);
    for (size_t i = 0; i < 4; ++i) c.inputs[i] = c.inputs[i].t().contiguous();
    return c;
  });
}

TEST(DepthRouteTest, OneOutputAlone) {
  const Size size{4, 9, 7};
  const auto s = setting({Normalizer::kSoftmax1}, size, true);
  auto c = cases(s, size, false, 1)(0);
  for (const size_t used : {0, 1}) {
    auto leaves = c.inputs;
    for (auto& x : leaves) x = x.detach().requires_grad_();
    const auto found = torch::autograd::grad({fast(s)(leaves)[used]}, leaves, {c.cotangents[used]});
    auto cotangents = c.cotangents;
    cotangents[1 - used] = at::zeros_like(cotangents[1 - used]);
    const auto expected = reference_of(s)(c.inputs, cotangents);
    for (size_t i = 0; i < leaves.size(); ++i) {
      EXPECT_LE((found[i] - expected.gradients[i]).norm().item<double>(),
                1e-12 * expected.gradients[i].norm().item<double>())
          << "input " << i << " through output " << used;
    }
  }
}

TEST(DepthRouteTest, BiasesOnALine) {
  const Size size{5, 9, 7};
  auto s = setting({Normalizer::kSoftmax1}, size, false);
  const auto c = cases(s, size, false, 1)(0);
  const auto steps = at::arange(size.n, at::kDouble) * 0.75 - 2;
  const auto result_of = [&](bool line) {
    auto leaves = c.inputs;
    leaves[size.n + 1] = leaves[size.n + 1].narrow(0, 0, 1);
    for (auto& x : leaves) x = x.detach().requires_grad_();
    auto inputs = inputs_of(s, leaves);
    auto options = s.options;
    if (line) {
      options.bias_line = DepthLine{-2, 0.75};
    } else {
      inputs.logit_bias = inputs.logit_bias * steps;
    }
    const auto [routed, weights] = depth_route(sources_of(s, leaves), inputs, options);
    auto result = torch::autograd::grad({routed, weights}, leaves, c.cotangents);
    result.insert(result.end(), {routed, weights});
    return result;
  };
  const auto found = result_of(true), expected = result_of(false);
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_LE((found[i] - expected[i]).norm().item<double>(),
              1e-13 * expected[i].norm().item<double>())
        << i;
  }
}

TEST(DepthRouteTest, TheSameOnAnyNumberOfThreads) {
  const Size size{5, 600, 19};
  for (const auto& spec : kSpecs) {
    for (const bool shared_direction : {false, true}) {
      const auto s = setting(spec, size, shared_direction);
      expect_independent_of_threads(fast(s), cases(s, size, shared_direction, 1)(0));
    }
  }
}

TEST(DepthRouteTest, BadShapesAreNamed) {
  const auto y = at::randn({3, 4});
  const auto message = [](const Tensors& sources, const DepthRouteInputs& inputs) {
    return message_of([&] { depth_route(sources, inputs, {}); });
  };
  const auto npos = std::string::npos;
  EXPECT_NE(message({}, {y, {}, {}, {}}).find("at least one source"), npos);
  EXPECT_NE(message({at::randn({3})}, {y, {}, {}, {}}).find("[tokens, hidden_size]"), npos);
  EXPECT_NE(message({y, at::randn({3, 5})}, {y, {}, {}, {}}).find("sources differ"), npos);
  EXPECT_NE(message({y, y.to(at::kDouble)}, {y, {}, {}, {}}).find("sources differ"), npos);
  EXPECT_NE(message({y}, {at::randn({2, 4}), {}, {}, {}}).find("[3 or 1, 4]"), npos);
  EXPECT_NE(message({y, y}, {y, at::randn({3}), {}, {}}).find("logit_bias must be [2]"), npos);
  EXPECT_NE(message({y}, {y, {}, at::randn({1, 3}), {}}).find("come together"), npos);
  EXPECT_NE(message({y}, {y, {}, at::randn({2, 3}), at::randn({1})}).find("nulls must be [1, 3]"),
            npos);
  EXPECT_NE(message({y}, {y, {}, at::randn({1, 3}), at::randn({2})}).find("beta must hold one"),
            npos);
}

}  // namespace
}  // namespace oasis
