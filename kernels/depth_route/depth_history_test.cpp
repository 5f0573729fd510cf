// The history's in-place buffers against the same networks built from ordinary tensors.
#include "kernels/depth_route/depth_history.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/stack.h>

#include "kernels/operation_testing.h"

namespace oasis {
namespace {

using namespace testing_support;

constexpr int64_t kLayers = 3, kTokens = 11, kHidden = 6;

// Where the values of a toy network live: in a DepthHistory, or as tensors of their own.
struct Store {
  virtual ~Store() = default;
  virtual at::Tensor append(int64_t slot, const at::Tensor& value) = 0;
  virtual at::Tensor append_sum(int64_t slot, const at::Tensor& a, const at::Tensor& b) = 0;
  // Slot −1: the result is not kept.
  virtual std::tuple<at::Tensor, at::Tensor> route(int64_t slot, const std::vector<int64_t>& slots,
                                                   const DepthRouteInputs& inputs,
                                                   const DepthRouteOptions& options) = 0;
};

struct InHistory : Store {
  explicit InHistory(int64_t slots, at::ScalarType type) : history(slots, kTokens, kHidden, type) {}

  at::Tensor append(int64_t slot, const at::Tensor& value) override {
    return history.append(slot, value);
  }
  at::Tensor append_sum(int64_t slot, const at::Tensor& a, const at::Tensor& b) override {
    return history.append_sum(slot, a, b);
  }
  std::tuple<at::Tensor, at::Tensor> route(int64_t slot, const std::vector<int64_t>& slots,
                                           const DepthRouteInputs& inputs,
                                           const DepthRouteOptions& options) override {
    return slot < 0 ? history.route(slots, inputs, options)
                    : history.route_append(slot, slots, inputs, options);
  }

  DepthHistory history;
};

struct AsTensors : Store {
  explicit AsTensors(int64_t slots) : values(static_cast<size_t>(slots)) {}

  at::Tensor append(int64_t slot, const at::Tensor& value) override {
    return values[static_cast<size_t>(slot)] = value;
  }
  at::Tensor append_sum(int64_t slot, const at::Tensor& a, const at::Tensor& b) override {
    return append(slot, a + b);
  }
  std::tuple<at::Tensor, at::Tensor> route(int64_t slot, const std::vector<int64_t>& slots,
                                           const DepthRouteInputs& inputs,
                                           const DepthRouteOptions& options) override {
    Tensors sources;
    for (const auto i : slots) sources.push_back(values[static_cast<size_t>(i)]);
    const auto out = depth_route(sources, inputs, options);
    if (slot >= 0) append(slot, std::get<0>(out));
    return out;
  }

  Tensors values;
};

// Parameters: the embedding [M, D], then per layer two sublayer maps [D, D], two router maps
// [D, D], a recency bias [1], β [1].
constexpr size_t kPerLayer = 6;

Tensors parameters() {
  Tensors list = {draw({kTokens, kHidden}, 1, 1)};
  for (uint64_t i = 0; i < kLayers; ++i) {
    for (uint64_t j = 0; j < 4; ++j) list.push_back(draw({kHidden, kHidden}, 0.4, 10 * i + j + 2));
    list.push_back(draw({1}, 1, 10 * i + 8));
    list.push_back(draw({1}, 1, 10 * i + 9));
  }
  return list;
}

at::Tensor sublayer(const at::Tensor& x, const at::Tensor& map) {
  return at::matmul(x, map).tanh();
}

DepthRouteInputs inputs_for(const at::Tensor& newest, const at::Tensor& map, const at::Tensor& bias,
                            const Tensors& psi, const at::Tensor& beta) {
  Tensors steps;
  for (size_t i = 0; i < psi.size(); ++i) steps.push_back(bias[0] * static_cast<double>(i));
  return {at::matmul(newest, map), at::stack(steps), at::stack(psi), beta};
}

// The projected form: h + sublayer summed into the history, one router whose result stays outside,
// one whose result is the layer's state. ψ depends on the values, as in a model.
at::Tensor projected(Store& store, const Tensors& p) {
  const DepthRouteOptions options{{Normalizer::kSoftmax1}, 0.5, false, 1e-6};
  auto h = store.append(0, p[0]);
  std::vector<int64_t> states = {0};
  Tensors psi = {at::zeros_like(p[0].select(1, 0))};
  at::Tensor weight_sum;
  for (int64_t i = 0; i < kLayers; ++i) {
    const Tensors q(p.begin() + 1 + i * kPerLayer, p.begin() + 1 + (i + 1) * kPerLayer);
    const auto own = h.select(1, 0).sigmoid();
    const auto c = store.append_sum(3 * i + 1, h, sublayer(h, q[0]));
    auto slots = states;
    auto nulls = psi;
    slots.push_back(3 * i + 1);
    nulls.push_back(own);
    const auto [after, weights] =
        store.route(-1, slots, inputs_for(c, q[2], q[4], nulls, q[5]), options);
    const auto e = store.append_sum(3 * i + 2, after, sublayer(after, q[1]));
    slots.push_back(3 * i + 2);
    nulls.push_back(own);
    h = std::get<0>(store.route(3 * i + 3, slots, inputs_for(e, q[3], q[4], nulls, q[5]), options));
    states.push_back(3 * i + 3);
    psi.push_back(own);
    const auto part = (weights * weights).sum();  // the weights' own gradient
    weight_sum = weight_sum.defined() ? weight_sum + part : part;
  }
  return h.cos().sum() + weight_sum;
}

// The pseudo-query and block forms: sublayer outputs appended, runs of two summed, normalised keys,
// one direction for every token.
at::Tensor pseudo_query(Store& store, const Tensors& p) {
  const DepthRouteOptions options{{Normalizer::kSoftmax1}, 1.0, true, 1e-3};
  const auto shared = [](const at::Tensor& map) { return map.narrow(0, 0, 1); };
  store.append(0, p[0]);
  std::vector<int64_t> slots = {0};
  at::Tensor x;
  for (int64_t i = 0; i < kLayers; ++i) {
    const Tensors q(p.begin() + 1 + i * kPerLayer, p.begin() + 1 + (i + 1) * kPerLayer);
    x = std::get<0>(store.route(-1, slots, {shared(q[2]), {}, {}, {}}, options));
    const auto first = store.append(2 * i + 1, sublayer(x, q[0]));
    slots.push_back(2 * i + 1);
    x = std::get<0>(store.route(-1, slots, {shared(q[3]), {}, {}, {}}, options));
    store.append_sum(2 * i + 2, first, sublayer(x, q[1]) * q[4] * q[5]);
    slots.back() = 2 * i + 2;  // the run's sum takes its part's place
  }
  x = std::get<0>(store.route(-1, slots, {shared(p[1]), {}, {}, {}}, options));
  return x.cos().sum();
}

using Network = at::Tensor (*)(Store&, const Tensors&);

void expect_same_gradients(Network network, int64_t slots) {
  Tensors leaves = parameters();
  for (auto& x : leaves) x.requires_grad_();
  AsTensors tensors(slots);
  const auto expected_loss = network(tensors, leaves);
  const auto expected = torch::autograd::grad({expected_loss}, leaves);
  InHistory history(slots, at::kDouble);
  const auto loss = network(history, leaves);
  EXPECT_NEAR(loss.item<double>(), expected_loss.item<double>(), 1e-12);
  loss.backward();
  for (size_t i = 0; i < leaves.size(); ++i) {
    ASSERT_TRUE(leaves[i].grad().defined()) << "parameter " << i;
    ASSERT_GT(expected[i].norm().item<double>(), 1e-6) << "parameter " << i;
    EXPECT_LE((leaves[i].grad() - expected[i]).norm().item<double>(),
              1e-12 * expected[i].norm().item<double>())
        << "parameter " << i;
  }
}

TEST(DepthHistoryTest, ProjectedNetworkHasTheGradientsOfItsFunctionalTwin) {
  expect_same_gradients(projected, 3 * kLayers + 1);
}

TEST(DepthHistoryTest, PseudoQueryNetworkHasTheGradientsOfItsFunctionalTwin) {
  expect_same_gradients(pseudo_query, 2 * kLayers + 1);
}

TEST(DepthHistoryTest, FrozenParametersAreLeftOut) {
  auto leaves = parameters();
  for (size_t i = 2; i < leaves.size(); i += 3) leaves[i].requires_grad_();
  Tensors trained;
  for (const auto& x : leaves) {
    if (x.requires_grad()) trained.push_back(x);
  }
  AsTensors tensors(3 * kLayers + 1);
  const auto expected = torch::autograd::grad({projected(tensors, leaves)}, trained);
  InHistory history(3 * kLayers + 1, at::kDouble);
  const auto found = torch::autograd::grad({projected(history, leaves)}, trained);
  for (size_t i = 0; i < trained.size(); ++i) {
    EXPECT_LE((found[i] - expected[i]).norm().item<double>(),
              1e-12 * expected[i].norm().item<double>())
        << "parameter " << i;
  }
}

TEST(DepthHistoryTest, AValueUsedByNoRouterKeepsItsGradient) {
  const auto a = draw({kTokens, kHidden}, 1, 0).requires_grad_();
  const auto b = draw({kTokens, kHidden}, 1, 1).requires_grad_();
  DepthHistory history(2, kTokens, kHidden, at::kDouble);
  history.append(0, a);
  const auto sum = history.append_sum(1, a, b);
  const auto grads = torch::autograd::grad({(sum * sum).sum()}, {a, b});
  EXPECT_TRUE(at::equal(grads[0], 2 * (a + b)));
  EXPECT_TRUE(at::equal(grads[1], 2 * (a + b)));
}

TEST(DepthHistoryTest, WithoutGradientsASlotMayBeOverwritten) {
  const at::NoGradGuard no_grad;
  const auto a = draw({kTokens, kHidden}, 1, 0), b = draw({kTokens, kHidden}, 1, 1);
  DepthHistory history(2, kTokens, kHidden, at::kDouble);
  history.append(0, a);
  history.append(1, a);
  history.append(1, b);
  EXPECT_TRUE(at::equal(history.value(0), a));
  EXPECT_TRUE(at::equal(history.value(1), b));
  const DepthRouteInputs inputs{draw({1, kHidden}, 1, 2), {}, {}, {}};
  const auto [routed, weights] = history.route({0, 1}, inputs, {});
  const auto [expected, expected_weights] = depth_route({a, b}, inputs, {});
  EXPECT_TRUE(at::equal(routed, expected));
  EXPECT_TRUE(at::equal(weights, expected_weights));
}

TEST(DepthHistoryTest, TypesOfAppendedValuesGetGradientsOfTheirOwnType) {
  const auto a = draw({kTokens, kHidden}, 1, 0).to(at::kFloat).requires_grad_();
  DepthHistory history(1, kTokens, kHidden, at::kDouble);
  const auto value = history.append(0, a);
  EXPECT_EQ(value.scalar_type(), at::kDouble);
  EXPECT_EQ(torch::autograd::grad({value.sum()}, {a})[0].scalar_type(), at::kFloat);
}

}  // namespace
}  // namespace oasis
