#include "models/evaluation.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

#include "models/evaluation/depth_recorder.h"
#include "models/evaluation/massive_recorder.h"
#include "models/evaluation/outlier_recorder.h"
#include "models/evaluation/sink_recorder.h"
#include "models/model_testing.h"
#include "models/quantization.h"

namespace oasis {
namespace {

const auto kDoubles = at::TensorOptions(at::kDouble);

using namespace testing_support;

MethodSpec plain(Normalizer normalizer) {
  MethodSpec method;
  method.token.kind = normalizer;
  return method;
}

Decoder model_with(const MethodSpec& method) {
  return small_model(small_config(method));
}

Decoder model_with(Routing routing, Normalizer normalizer) {
  return model_with(routed(routing, normalizer, Coupling::Kind::kNone));
}

const Metric& metric(const EvaluationResult& result, const std::string& name) {
  for (const auto& m : result.metrics) {
    if (m.name == name) return m;
  }
  throw failed("no metric {}", name);
}

double value(const EvaluationResult& result, const std::string& name) {
  return metric(result, name).value.value();
}

double statistic(const EvaluationResult& result, const std::string& place,
                 const std::string& quantity) {
  for (const auto& s : result.statistics) {
    if (s.place == place && s.quantity == quantity) return s.value;
  }
  throw failed("no statistic {} of {}", quantity, place);
}

TEST(OutlierRecorder, FiguresOfAHandMadeActivation) {
  // Two sequences of two tokens: (1, −1), (1, −1) and (0, 0), (0, −8).
  const auto x = at::tensor({1.0, -1.0, 1.0, -1.0, 0.0, 0.0, 0.0, -8.0}, kDoubles).view({2, 2, 2});
  OutlierRecorder recorder;
  recorder.add("model.layers.0.mlp", x, true);
  recorder.add("model.layers.0", x * 0.5, true);
  EvaluationResult result;
  recorder.report(result);
  EXPECT_DOUBLE_EQ(value(result, "max_inf_norm/seq"), (1.0 + 8.0) / 2);
  EXPECT_DOUBLE_EQ(value(result, "max_inf_norm/token"), (1.0 + 1.0 + 0.0 + 8.0) / 4);
  EXPECT_DOUBLE_EQ(value(result, "max_inf_norm/seq/mlp"), 4.5);
  EXPECT_DOUBLE_EQ(value(result, "max_inf_norm/seq/layer"), 2.25);
  // First sequence: fourth moment 1, s² = 4/3. Second: mean −2, deviations 2, 2, 2, −6.
  const double first = 1.0 / (16.0 / 9.0), second = (3 * 16.0 + 1296.0) / 4 / (16.0 * 16.0);
  EXPECT_DOUBLE_EQ(statistic(result, "model.layers.0.mlp", "kurtosis/seq_noeps"),
                   (first + second) / 2);
  EXPECT_NEAR(value(result, "avg_kurtosis/seq_noeps"), (first + second) / 2, 1e-15);
  const double first_eps = 1.0 / (16.0 / 9.0 + 1e-6), second_eps = 336.0 / (256.0 + 1e-6);
  EXPECT_DOUBLE_EQ(statistic(result, "model.layers.0.mlp", "kurtosis/seq"),
                   (first_eps + second_eps) / 2);
  // A constant token has no kurtosis without ε, and shows it.
  EXPECT_TRUE(std::isnan(value(result, "avg_kurtosis/token_noeps")));
  EXPECT_TRUE(std::isfinite(value(result, "avg_kurtosis/token")));
  EXPECT_EQ(metric(result, "max_inf_norm/seq").n, 2);
  EXPECT_EQ(metric(result, "max_inf_norm/token").n, 4);
}

TEST(OutlierRecorder, KurtosisLeavesLaterBatchesOut) {
  const auto x = at::arange(24, kDoubles).view({1, 4, 6});
  OutlierRecorder once, twice;
  once.add("model.norm", x, true);
  twice.add("model.norm", x, true);
  twice.add("model.norm", x * x, false);
  EvaluationResult a, b;
  once.report(a);
  twice.report(b);
  EXPECT_DOUBLE_EQ(value(a, "avg_kurtosis/seq"), value(b, "avg_kurtosis/seq"));
  EXPECT_EQ(metric(b, "avg_kurtosis/seq").n, 1);
  EXPECT_DOUBLE_EQ(value(b, "max_inf_norm/seq"), (23.0 + 529.0) / 2);
}

TEST(MassiveActivationRecorder, CountsAndNamesPlantedOnes) {
  auto x = at::ones({2, 5, 4}, kDoubles);
  x[0][3][1] = -2000.0;
  x[0][4][1] = 1000.0;  // exactly 1000 times the median
  x[1][0][0] = 999.0;   // less than that
  MassiveActivationRecorder recorder;
  recorder.begin(at::arange(10, at::kLong).view({2, 5}) + 30);
  recorder.add("model.layers.1", x);
  recorder.add("model.layers.1.mlp", x * 10);
  recorder.add("model.layers.0", x * 0.01);  // relative to the median the same, but small
  EvaluationResult result;
  recorder.report(result);
  EXPECT_DOUBLE_EQ(value(result, "massive_activations"), 1.0);
  EXPECT_EQ(metric(result, "massive_activations").n, 2);
  EXPECT_DOUBLE_EQ(statistic(result, "model.layers.1", "massive_activations"), 1.0);
  EXPECT_DOUBLE_EQ(value(result, "massive_activations/max_to_median"), 2000.0);
  ASSERT_EQ(result.massive_activations.size(), 2U);
  const auto& largest = result.massive_activations[0];
  EXPECT_EQ(largest.token, 33);
  EXPECT_EQ(largest.position, 3);
  EXPECT_EQ(largest.channel, 1);
  EXPECT_EQ(largest.largest, -2000.0);
  EXPECT_EQ(result.massive_activations[1].token, 34);
}

TEST(MassiveActivationRecorder, OnePlaceOverLayersAndSequences) {
  MassiveActivationRecorder recorder;
  recorder.begin(at::tensor({7, 5, 7, 6}, at::kLong).view({2, 2}));
  const std::vector<double> sizes = {0.5, 3e3, -5e3, 4e3};
  for (size_t layer = 0; layer < sizes.size(); ++layer) {
    auto x = at::ones({2, 2, 8}, kDoubles);
    x.select(1, 0).select(1, 6) = at::tensor({sizes[layer], sizes[layer] / 2}, kDoubles);
    recorder.add(fmt::format("model.layers.{}", layer), x);
  }
  EvaluationResult result;
  recorder.report(result);
  ASSERT_EQ(result.massive_activations.size(), 1U);
  EXPECT_EQ(result.massive_places, 1);
  const auto& place = result.massive_activations[0];
  EXPECT_EQ(place.token, 7);
  EXPECT_EQ(place.position, 0);
  EXPECT_EQ(place.channel, 6);
  EXPECT_EQ(place.first_layer, 1);
  EXPECT_EQ(place.last_layer, 3);
  EXPECT_EQ(place.largest, -5e3);
  EXPECT_EQ(place.largest_layer, 2);
  EXPECT_EQ(place.n, 6);
}

TEST(Evaluation, MassiveActivationsNameTheTokensOfEveryBatch) {
  auto model = small_model(small_config());
  // Channel 2 of token 3's embedding reaches every layer's output over the residual sums.
  model.embed_tokens()[3][2] = 1e6;
  const auto tokens = some_tokens(5, 4);
  const auto result = evaluate(model, tokens.split(2), {});
  ASSERT_FALSE(result.massive_activations.empty());
  int64_t found = 0;
  for (const auto& place : result.massive_activations) {
    EXPECT_EQ(place.token, 3);
    EXPECT_EQ(place.channel, 2);
    EXPECT_EQ(place.first_layer, 0);
    EXPECT_EQ(place.last_layer, 1);
    EXPECT_EQ(tokens.select(1, place.position).eq(3).sum().item<int64_t>() * 2, place.n);
    found += place.n;
  }
  EXPECT_EQ(found, tokens.eq(3).sum().item<int64_t>() * 2);
}

TEST(SinkRecorder, OneHeadThatSinksAndOneOnTheDiagonal) {
  constexpr int64_t T = 6;
  auto probs = at::zeros({1, 2, T, T}, kDoubles);
  for (int64_t i = 0; i < T; ++i) {
    probs[0][0][i][i == 0 ? 0 : 1] = 1.0;  // all later queries read key 1: a sink, but not k = 0
    probs[0][1][i][i] = 1.0;
  }
  SinkRecorder recorder(1, false, {});
  recorder.add(0, probs, attention_rows(probs), at::zeros({1, 2, T}, kDoubles));
  EvaluationResult result;
  recorder.report(result);
  EXPECT_DOUBLE_EQ(value(result, "first_token_mass"), 1.0 / T);
  EXPECT_DOUBLE_EQ(value(result, "first_token_mass/without_first"), 0.0);
  EXPECT_DOUBLE_EQ(value(result, "sink_rate"), 0.0);
  EXPECT_DOUBLE_EQ(statistic(result, "model.layers.0.self_attn/head0", "sink_rate_any"), 1.0);
  // On the diagonal a_2 = 1/4 is the largest of k < 3.
  EXPECT_DOUBLE_EQ(statistic(result, "model.layers.0.self_attn/head1", "sink_rate_any"), 0.0);
  EXPECT_DOUBLE_EQ(value(result, "attention_entropy"), 0.0);
  EXPECT_DOUBLE_EQ(value(result, "attention_max"), 1.0);
  EXPECT_EQ(metric(result, "first_token_mass").n, 2 * T);
  EXPECT_EQ(metric(result, "sink_rate").n, 2);
}

TEST(DepthRecorder, JointRouteOfOneQuery) {
  // Query 0 has weights that would spoil every figure if it counted.
  const auto alpha = at::tensor({0.9, 0.1, 0.25, 0.5}, kDoubles).view({1, 2, 2});
  const auto probs = at::tensor({0.5, 0.0, 0.3, 0.6}, kDoubles).view({1, 1, 2, 2});
  DepthRecorder recorder(1, 1, true);
  recorder.add_attention(0, probs, attention_rows(probs));
  recorder.add_router("0.sa", alpha, {{}, {0}});
  EvaluationResult result;
  recorder.report(result);
  EXPECT_DOUBLE_EQ(value(result, "d4_leakage"), 0.5 * 0.3);
  EXPECT_DOUBLE_EQ(value(result, "d4_concentration"), 0.5 * 0.6);
  const auto x_log_x = [](double q) { return q * std::log(q); };
  EXPECT_NEAR(value(result, "d4_negative_entropy"), x_log_x(0.25) + x_log_x(0.15) + x_log_x(0.3),
              1e-15);
  EXPECT_EQ(metric(result, "d4_leakage").n, 1);
  EXPECT_DOUBLE_EQ(value(result, "depth_null_mass"), 0.125);
  EXPECT_DOUBLE_EQ(statistic(result, "0.sa/source1", "depth_weight"), 0.3);
  EXPECT_EQ(metric(result, "depth_null_mass").n, 2);
}

TEST(DepthRecorder, ARunIsTheMeanOverItsOutputs) {
  DepthRecorder recorder(3, 1, false);
  int routers = 0;
  const auto attend = [&](int64_t layer, double first, double second) {
    const auto probs = at::tensor({1.0, 0.0, first, second}, kDoubles).view({1, 1, 2, 2});
    recorder.add_attention(layer, probs, attention_rows(probs));
  };
  const auto route = [&](const std::vector<SourceLayers>& sources, const std::vector<double>& a) {
    auto alpha = at::zeros({1, 2, static_cast<int64_t>(a.size())}, kDoubles);
    alpha.select(1, 1).copy_(at::tensor(a, kDoubles));
    recorder.add_router(fmt::format("router {}", routers++), alpha, sources);
  };
  route({{}}, {1.0});
  attend(0, 0.9, 0.1);
  route({{}, {0}}, {1.0, 0.0});
  route({{}, {0, 0}}, {1.0, 0.0});
  attend(1, 0.3, 0.7);
  EvaluationResult before, after;
  recorder.report(before);
  route({{}, {0, 0, 1}}, {0.0, 1.0});
  attend(2, 0.5, 0.5);
  route({{}, {0, 0, 1}, {2}}, {0.0, 1.0, 0.0});
  recorder.report(after);
  EXPECT_EQ(value(before, "d4_leakage"), 0.0);
  const double first = (0.9 + 0.9 + 0.3) / 3, second = 1 - first;  // two of layer 0, one of 1
  EXPECT_NEAR(value(after, "d4_leakage"), 2 * first / 5, 1e-15);
  EXPECT_NEAR(value(after, "d4_concentration"), (3 + 2 * first) / 5, 1e-15);
  EXPECT_NEAR(value(after, "d4_negative_entropy"),
              2 * (first * std::log(first) + second * std::log(second)) / 5, 1e-15);
}

TEST(Evaluate, UniformAttention) {
  constexpr int64_t T = 9;
  for (const bool null : {false, true}) {
    const auto model = model_with(plain(null ? Normalizer::kSoftmax1 : Normalizer::kSoftmax));
    for (const auto& layer : model.layers()) layer.q_proj.weight.zero_();
    const auto result = evaluate(model, {some_tokens(4, T)}, {});
    double first = 0, without = 0, rho = 0, entropy = 0;
    for (int64_t i = 0; i < T; ++i) {
      const double p = 1.0 / static_cast<double>(i + 1 + (null ? 1 : 0));
      first += p / T;
      if (i > 0) without += p / (T - 1);
      if (null) rho += p / T;
      entropy -= static_cast<double>(i + 1) * p * std::log(p) / T;
    }
    EXPECT_NEAR(value(result, "first_token_mass"), first, 1e-12);
    EXPECT_NEAR(value(result, "first_token_mass/without_first"), without, 1e-12);
    EXPECT_NEAR(value(result, "null_mass"), rho, 1e-12);
    EXPECT_NEAR(value(result, "attention_entropy"), entropy, 1e-12);
    EXPECT_NEAR(value(result, "attention_max"), first, 1e-12);
    double renormalized = 0;
    for (int64_t i = 0; i < T; ++i) renormalized += 1.0 / static_cast<double>(i + 1) / T;
    EXPECT_NEAR(value(result, "first_token_mass/renormalized"), renormalized, 1e-12);
    EXPECT_EQ(value(result, "sink_rate"), first > 0.3 ? 1.0 : 0.0);
    EXPECT_NEAR(statistic(result, "model.layers.1.self_attn", "null_posterior"), rho, 1e-12);
    EXPECT_EQ(metric(result, "null_mass").n, 4 * 2 * 3 * T);
    EXPECT_EQ(metric(result, "loss").n, 4 * (T - 1));
  }
}

TEST(Evaluate, LossOfAModelThatKnowsNothing) {
  auto model = model_with(Routing::kPseudoQuery, Normalizer::kSoftmax);
  model.head_weight().zero_();
  const TextSize text{.tokens = 100, .bytes = 250, .words = 40};
  const auto result = evaluate(model, {some_tokens(2, 5), some_tokens(1, 5)}, {}, text);
  const double nats = std::log(19.0);
  EXPECT_NEAR(value(result, "loss"), nats, 1e-12);
  EXPECT_NEAR(value(result, "perplexity"), 19.0, 1e-11);
  EXPECT_NEAR(value(result, "bits_per_byte"), nats / std::log(2.0) * 100 / 250, 1e-12);
  EXPECT_NEAR(value(result, "word_perplexity"), std::exp(nats * 2.5), 1e-9);
  const auto unknown = evaluate(model, {some_tokens(2, 5)}, {});
  EXPECT_FALSE(metric(unknown, "bits_per_byte").value.has_value());
  EXPECT_FALSE(metric(unknown, "bits_per_byte").note.empty());
}

// Zero pseudo-queries weigh all sources alike.
TEST(Evaluate, DepthWeightsOfAFreshPseudoQueryModel) {
  const auto softmax = model_with(Routing::kPseudoQuery, Normalizer::kSoftmax);
  auto result = evaluate(softmax, {some_tokens(3, 6)}, {});
  EXPECT_EQ(value(result, "depth_null_mass"), 0.0);
  EXPECT_NEAR(statistic(result, "1.mlp/source2", "depth_weight"), 0.25, 1e-12);
  EXPECT_NEAR(value(result, "depth_entropy"),
              (std::log(2.0) + std::log(3.0) + std::log(4.0) + std::log(5.0)) / 5, 1e-12);
  const auto softmax1 = model_with(Routing::kPseudoQuery, Normalizer::kSoftmax1);
  result = evaluate(softmax1, {some_tokens(3, 6)}, {});
  EXPECT_NEAR(statistic(result, "final", "depth_null_mass"), 1.0 / 6, 1e-12);
  EXPECT_NEAR(value(result, "depth_null_mass"), (1. / 2 + 1. / 3 + 1. / 4 + 1. / 5 + 1. / 6) / 5,
              1e-12);
  EXPECT_EQ(metric(result, "d4_leakage").n, 5 * 3 * 3 * 5);
}

TEST(Evaluate, DoesNotDependOnBatching) {
  for (const auto routing :
       {Routing::kNone, Routing::kProjected, Routing::kPseudoQuery, Routing::kBlock}) {
    const auto model = routing == Routing::kNone ? model_with(plain(Normalizer::kSoftmax1))
                                                 : model_with(routing, Normalizer::kSoftmax1);
    const auto tokens = some_tokens(5, 12);
    const auto together = evaluate(model, {tokens}, {});
    const auto apart = evaluate(
        model, {tokens.narrow(0, 0, 1), tokens.narrow(0, 1, 3), tokens.narrow(0, 4, 1)}, {});
    ASSERT_EQ(together.metrics.size(), apart.metrics.size());
    std::set<std::string> names;
    for (size_t i = 0; i < together.metrics.size(); ++i) {
      const auto &a = together.metrics[i], &b = apart.metrics[i];
      EXPECT_TRUE(names.insert(a.name).second) << a.name;
      EXPECT_EQ(a.name, b.name);
      EXPECT_EQ(a.n, b.n) << a.name;
      EXPECT_GT(a.n, 0) << a.name;
      EXPECT_FALSE(a.unit.empty()) << a.name;
      ASSERT_EQ(a.value.has_value(), b.value.has_value()) << a.name;
      if (a.value) {
        EXPECT_NEAR(*a.value, *b.value, 1e-10 * (1 + std::abs(*a.value))) << a.name;
      }
    }
    ASSERT_EQ(together.statistics.size(), apart.statistics.size());
    for (size_t i = 0; i < together.statistics.size(); ++i) {
      const auto &a = together.statistics[i], &b = apart.statistics[i];
      EXPECT_EQ(a.place, b.place);
      EXPECT_NEAR(a.value, b.value, 1e-10 * (1 + std::abs(a.value))) << a.place << a.quantity;
    }
    EXPECT_EQ(names.contains("d4_leakage"), routing != Routing::kNone);
  }
}

TEST(Evaluate, DiagnosticsDoNotChangeTheLoss) {
  const auto model = model_with(Routing::kProjected, Normalizer::kSoftmax1);
  const std::vector<at::Tensor> batches = {some_tokens(3, 10)};
  const auto full = evaluate(model, batches, {});
  const auto loss_alone = evaluate(model, batches, {.diagnostics = false});
  EXPECT_EQ(loss_alone.metrics.size(), 4u);
  EXPECT_TRUE(loss_alone.statistics.empty());
  EXPECT_NEAR(value(full, "loss"), value(loss_alone, "loss"), 1e-10);
}

TEST(Evaluate, QuantizedIsLossAlone) {
  const auto model = model_with(Routing::kProjected, Normalizer::kSoftmax1);
  const auto tokens = some_tokens(4, 10);
  QuantizedModel quantized(model, {.weight_bits = 4, .activation_bits = 4});
  quantized.calibrate(tokens);
  const auto result = evaluate(quantized.model(), {tokens}, {}, {}, &quantized.observer());
  EXPECT_EQ(result.metrics.size(), 4u);
  const auto by_hand = quantized.model().loss(tokens, &quantized.observer()).first.item<double>();
  EXPECT_NEAR(value(result, "loss"), by_hand, 1e-10);
  EXPECT_NE(value(result, "loss"), value(evaluate(model, {tokens}, {}), "loss"));
}

TEST(Evaluate, NotANumberComesThrough) {
  const auto model = model_with(Routing::kPseudoQuery, Normalizer::kSoftmax);
  model.layers()[1].down_proj.weight.fill_(std::numeric_limits<double>::quiet_NaN());
  const auto result = evaluate(model, {some_tokens(2, 6)}, {});
  for (const auto* name : {"loss", "perplexity", "max_inf_norm/seq", "avg_kurtosis/seq",
                           "max_inf_norm/seq/mlp", "d4_leakage"}) {
    EXPECT_TRUE(std::isnan(value(result, name))) << name;
  }
  EXPECT_TRUE(std::isfinite(value(result, "max_inf_norm/seq/layer")));
}

TEST(Evaluate, SequencesOfOneToken) {
  const auto model = model_with(Routing::kBlock, Normalizer::kSoftmax);
  const auto result = evaluate(model, {some_tokens(3, 1)}, {});
  for (const auto* name : {"loss", "perplexity", "first_token_mass/without_first", "d4_leakage"}) {
    EXPECT_FALSE(metric(result, name).value.has_value()) << name;
    EXPECT_FALSE(metric(result, name).note.empty()) << name;
  }
  EXPECT_EQ(value(result, "first_token_mass"), 1.0);
}

TEST(Evaluate, RefusesWhatItCannotDo) {
  const auto model = model_with(plain(Normalizer::kSoftmax));
  EXPECT_THROW(evaluate(model, {}, {}), Error);
  EXPECT_THROW(evaluate(model, {some_tokens(2, 4), some_tokens(2, 5)}, {}), Error);
  int64_t calls = 0;
  const auto stop_second = [&](int64_t done, int64_t total) {
    EXPECT_EQ(total, 3);
    EXPECT_EQ(done, calls);
    return ++calls < 2;
  };
  const std::vector<at::Tensor> batches(3, some_tokens(1, 4));
  EXPECT_THROW(evaluate(model, batches, {}, {}, nullptr, stop_second), Error);
  EXPECT_EQ(calls, 2);
}

}  // namespace
}  // namespace oasis
