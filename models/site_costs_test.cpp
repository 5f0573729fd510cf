#include "models/site_costs.h"

#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "kernels/fake_quantize/fake_quantize.h"
#include "models/model_testing.h"

namespace oasis {
namespace {

using namespace testing_support;

const SiteCost& cost_of(const SiteCosts& costs, const std::string& site) {
  const auto found = std::ranges::find(costs.sites, site, &SiteCost::site);
  if (found == costs.sites.end()) throw failed("no site {}", site);
  return *found;
}

double perplexity_of(const Decoder& model, const at::Tensor& tokens) {
  return std::exp(model.loss(tokens).first.item<double>());
}

TEST(SiteCosts, EverySiteAloneAgainstTheModelWithThatSiteQuantized) {
  const auto model = small_model(small_config());
  const auto tokens = some_tokens(3, 6);
  QuantizedModel quantized(model, {.weight_bits = 3, .activation_bits = 3});
  quantized.calibrate(tokens);
  int64_t seen = 0, sites = 0;
  const auto costs = measure_site_costs(model, quantized, {tokens}, [&](int64_t done, int64_t all) {
    EXPECT_EQ(done, seen++);
    sites = all;
    return true;
  });
  EXPECT_EQ(costs.n, 3 * 5);
  EXPECT_NEAR(costs.perplexity, perplexity_of(model, tokens), 1e-9 * costs.perplexity);
  EXPECT_EQ(seen, sites);
  EXPECT_EQ(costs.sites.size(), static_cast<size_t>(sites));
  // 12 points a layer; 7 weights a layer and the embedding.
  EXPECT_EQ(sites, 2 * 12 + 2 * 7 + 1);
  EXPECT_TRUE(std::ranges::is_sorted(costs.sites, std::greater(), &SiteCost::perplexity));

  const std::string weight = "model.layers.1.mlp.up_proj.weight";
  const auto alone = model.transformed([&](const std::string& name, const at::Tensor& parameter) {
    return name == weight ? fake_quantize_weight(parameter, 3) : parameter;
  });
  const double expected = perplexity_of(alone, tokens);
  EXPECT_NEAR(cost_of(costs, weight).perplexity, expected, 1e-9 * expected);
  EXPECT_GT(std::abs(expected / costs.perplexity - 1), 1e-6);
}

TEST(SiteCosts, APlantedOutlierIsTheCostliestPoint) {
  auto model = small_model(small_config());
  // A channel that the final norm takes out again: it costs nothing but its quantizer's range.
  model.layers()[1].down_proj.weight[4].mul_(1e4);
  model.final_norm()[4] = 0.0;
  const auto tokens = some_tokens(3, 6);
  QuantizedModel quantized(model, {.weight_bits = 16, .activation_bits = 8});
  quantized.calibrate(tokens);
  const auto costs = measure_site_costs(model, quantized, {tokens});
  EXPECT_TRUE(costs.sites[0].site == "model.layers.1.mlp.down_proj" ||
              costs.sites[0].site == "model.layers.1.attn_res_mlp")
      << costs.sites[0].site;
}

TEST(SiteCosts, TheHeadOfATiedModelStaysFloat) {
  auto config = small_config();
  config.tie_word_embeddings = true;
  const auto model = small_model(config);
  const auto tokens = some_tokens(2, 5);
  QuantizedModel quantized(model, {.weight_bits = 2, .activation_bits = 16});
  quantized.calibrate(tokens);
  const auto costs = measure_site_costs(model, quantized, {tokens});
  auto expected = model.transformed([](const std::string& name, const at::Tensor& parameter) {
    return name == "model.embed_tokens.weight" ? fake_quantize_weight(parameter, 2) : parameter;
  });
  expected.set_head(model.head_weight());
  EXPECT_NEAR(cost_of(costs, "model.embed_tokens.weight").perplexity,
              perplexity_of(expected, tokens), 1e-9 * perplexity_of(expected, tokens));
}

TEST(SiteCosts, TheFirstTokens) {
  const auto batches = some_tokens(5, 6).split(2);
  using Shapes = std::vector<std::vector<int64_t>>;
  const auto shapes = [&](int64_t count) {
    Shapes found;
    for (const auto& batch : first_tokens(batches, count)) found.push_back(batch.sizes().vec());
    return found;
  };
  EXPECT_EQ(shapes(4), (Shapes{{1, 4}}));
  EXPECT_EQ(shapes(6), (Shapes{{1, 6}}));
  EXPECT_EQ(shapes(18), (Shapes{{2, 6}, {1, 6}}));
  EXPECT_EQ(shapes(1000), (Shapes{{2, 6}, {2, 6}, {1, 6}}));
  EXPECT_TRUE(at::equal(first_tokens(batches, 4)[0], batches[0].narrow(0, 0, 1).narrow(1, 0, 4)));
}

TEST(SiteCosts, StopsWhenAskedTo) {
  const auto model = small_model(small_config());
  QuantizedModel quantized(model, {});
  quantized.calibrate(some_tokens(2, 5));
  const auto stop = [](int64_t done, int64_t) { return done < 3; };
  EXPECT_TRUE(
      says(refusal([&] { measure_site_costs(model, quantized, {some_tokens(2, 5)}, stop); }),
           "stopped"));
  EXPECT_TRUE(says(refusal([&] { measure_site_costs(model, quantized, {some_tokens(2, 1)}); }),
                   "one token"));
}

}  // namespace
}  // namespace oasis
