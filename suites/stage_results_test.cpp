#include "suites/stage_results.h"

#include <gtest/gtest.h>

#include <cmath>

#include "support/error.h"

namespace oasis {
namespace {

TEST(StageResults, StatisticsGoWhereTheirPlaceSays) {
  EvaluationResult evaluation;
  evaluation.statistics = {{"model.layers.3.mlp", "inf_norm/seq", 7, 4},
                           {"model.layers.3.self_attn/head2", "first_token_mass", 0.5, 8},
                           {"model.layers.12", "null_posterior", 0.25, 8},
                           {"3.sa/source1", "depth_weight", 0.75, 8},
                           {"final/source0", "depth_weight", 0.125, 8}};
  const StageResult result = to_stage_result(evaluation, *byte_tokenizer());
  ASSERT_EQ(result.site_statistics.size(), 1u);
  EXPECT_EQ(result.site_statistics[0].site, "model.layers.3.mlp");
  ASSERT_EQ(result.layer_statistics.size(), 4u);
  const auto& head = result.layer_statistics[0];
  EXPECT_EQ(head.layer, 3);
  EXPECT_EQ(head.head, 2);
  EXPECT_EQ(head.part, "");
  EXPECT_EQ(result.layer_statistics[1].layer, 12);
  EXPECT_EQ(result.layer_statistics[1].head, std::nullopt);
  const auto& router = result.layer_statistics[2];
  EXPECT_EQ(router.layer, 3);
  EXPECT_EQ(router.part, "sa");
  EXPECT_EQ(router.source, 1);
  const auto& last = result.layer_statistics[3];
  EXPECT_EQ(last.layer, std::nullopt);
  EXPECT_EQ(last.part, "final");
  EXPECT_EQ(last.source, 0);
}

TEST(StageResults, UnknownPlaceIsAnErrorNotALostFigure) {
  EvaluationResult evaluation;
  evaluation.statistics = {{"model.embed", "depth_weight", 1, 1}};
  EXPECT_THROW(to_stage_result(evaluation, *byte_tokenizer()), Error);
  evaluation.statistics = {{"3.sa/lane1", "depth_weight", 1, 1}};
  EXPECT_THROW(to_stage_result(evaluation, *byte_tokenizer()), Error);
}

TEST(StageResults, MassiveActivationsNameTheirToken) {
  EvaluationResult evaluation;
  evaluation.massive_activations = {{.token = 'T',
                                     .position = 3,
                                     .channel = 5,
                                     .first_layer = 1,
                                     .last_layer = 9,
                                     .largest = -700,
                                     .largest_layer = 4,
                                     .n = 12}};
  const StageResult result = to_stage_result(evaluation, *byte_tokenizer());
  ASSERT_EQ(result.massive_activations.size(), 1u);
  const auto& row = result.massive_activations[0];
  EXPECT_EQ(row.text, "T");
  EXPECT_EQ(row.position, 3);
  EXPECT_EQ(row.channel, 5);
  EXPECT_EQ(row.first_layer, 1);
  EXPECT_EQ(row.last_layer, 9);
  EXPECT_EQ(row.largest, -700);
  EXPECT_EQ(row.largest_layer, 4);
  EXPECT_EQ(row.n, 12);
}

TEST(StageResults, TokensThatAreNoText) {
  const auto bytes = byte_tokenizer();
  EXPECT_EQ(token_text(*bytes, '\n'), "<0x0A>");
  EXPECT_EQ(token_text(*bytes, 0xC3), "<0xC3>");
  EXPECT_EQ(token_text(*bytes, 0), "<0x00>");
  EXPECT_EQ(token_text(*bytes, 256), "<end of text>");
  EXPECT_EQ(token_text(*bytes, 257), "");
}

TEST(StageResults, SiteCostsStandBesideWhatNothingCosts) {
  const auto rows =
      site_cost_statistics({.perplexity = 20, .sites = {{"a", 30}, {"b", 21}}, .n = 7});
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].quantity, "perplexity_none");
  EXPECT_EQ(rows[0].value, 20);
  EXPECT_EQ(rows[1].site, "a");
  EXPECT_EQ(rows[1].quantity, "perplexity_alone");
  EXPECT_EQ(rows[1].value, 30);
  EXPECT_EQ(rows[1].n, 7);
}

TEST(StageResults, AFigureThatDoesNotExistKeepsItsReason) {
  EvaluationResult evaluation;
  evaluation.metrics = {{"bits_per_byte", std::nullopt, "bit/byte", 4, "no bytes"},
                        {"loss", 2.5, "nat/token", 4, "ignored"}};
  const StageResult result = to_stage_result(evaluation, *byte_tokenizer());
  EXPECT_TRUE(std::isnan(result.metrics[0].value));
  EXPECT_EQ(result.metrics[0].reason, "no bytes");
  EXPECT_EQ(result.metrics[1].value, 2.5);
  EXPECT_EQ(result.metrics[1].reason, "");
}

}  // namespace
}  // namespace oasis
