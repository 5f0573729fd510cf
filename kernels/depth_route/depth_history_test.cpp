// The history's in-place buffers against the same networks built from ordinary tensors.
#include "kernels/depth_route/depth_history.h"

#include <ATen/core/grad_mode.h>

#include "kernels/depth_route/depth_history_testing.h"

namespace oasis {
namespace {

using namespace testing_support;

constexpr int64_t kLayers = 3, kTokens = 11, kHidden = 6;

using Network = at::Tensor (*)(Store&, const Tensors&);

void expect_same_gradients(Network network, int64_t slots) {
  Tensors leaves = parameters(kLayers, kTokens, kHidden);
  for (auto& x : leaves) x.requires_grad_();
  AsTensors tensors(slots);
  const auto expected_loss = network(tensors, leaves);
  const auto expected = torch::autograd::grad({expected_loss}, leaves);
  InHistory history(slots, leaves[0]);
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
  auto leaves = parameters(kLayers, kTokens, kHidden);
  for (size_t i = 2; i < leaves.size(); i += 3) leaves[i].requires_grad_();
  Tensors trained;
  for (const auto& x : leaves) {
    if (x.requires_grad()) trained.push_back(x);
  }
  AsTensors tensors(3 * kLayers + 1);
  const auto expected = torch::autograd::grad({projected(tensors, leaves)}, trained);
  InHistory history(3 * kLayers + 1, leaves[0]);
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

TEST(DepthHistoryTest, AnAppendedProductHasTheGradientsOfItsParts) {
  const auto a = draw({kTokens, kHidden}, 1, 0).requires_grad_();
  const auto x = draw({kTokens, 5}, 1, 1).requires_grad_();
  const auto weight = draw({kHidden, 5}, 1, 2).requires_grad_();
  const auto null = draw({kTokens}, 1, 3).requires_grad_();
  const auto beta = draw({1}, 1, 4);
  const auto loss = [&](bool product) {
    DepthHistory history(2, kTokens, kHidden, at::kDouble);
    history.append(0, a);
    const auto sum = product ? history.append_product(1, a, x, weight, null)
                             : history.append_sum(1, a, at::matmul(x, weight.t()), null);
    DepthRouteOptions options;
    options.normalizer = {Normalizer::kSoftmax1};
    const auto [routed, weights] =
        history.route({0, 1}, {draw({1, kHidden}, 1, 5), {}, {}, beta}, options);
    return (routed * sum).sum();
  };
  const Tensors leaves = {a, x, weight, null};
  const auto expected = torch::autograd::grad({loss(false)}, leaves);
  const auto found = torch::autograd::grad({loss(true)}, leaves);
  for (size_t i = 0; i < leaves.size(); ++i) {
    ASSERT_GT(expected[i].norm().item<double>(), 1e-6) << i;
    EXPECT_LE((found[i] - expected[i]).norm().item<double>(),
              1e-12 * expected[i].norm().item<double>())
        << i;
  }
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
