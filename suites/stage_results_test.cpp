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
  const StageResult result = to_stage_result(evaluation);
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
  EXPECT_THROW(to_stage_result(evaluation), Error);
  evaluation.statistics = {{"3.sa/lane1", "depth_weight", 1, 1}};
  EXPECT_THROW(to_stage_result(evaluation), Error);
}

TEST(StageResults, AFigureThatDoesNotExistKeepsItsReason) {
  EvaluationResult evaluation;
  evaluation.metrics = {{"bits_per_byte", std::nullopt, "bit/byte", 4, "no bytes"},
                        {"loss", 2.5, "nat/token", 4, "ignored"}};
  const StageResult result = to_stage_result(evaluation);
  EXPECT_TRUE(std::isnan(result.metrics[0].value));
  EXPECT_EQ(result.metrics[0].reason, "no bytes");
  EXPECT_EQ(result.metrics[1].value, 2.5);
  EXPECT_EQ(result.metrics[1].reason, "");
}

}  // namespace
}  // namespace oasis
