#include "models/evaluation/sink_recorder.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/special_entr.h>
#include <ATen/ops/sum.h>
#include <fmt/format.h>

#include <algorithm>

namespace oasis {
namespace {

struct Quantity {
  const char* metric;
  const char* statistic;
  const char* unit;
};

// In the order of SinkRecorder::Quantity.
constexpr std::array<Quantity, 8> kNames = {{
    {"first_token_mass", "first_token_mass", "1"},
    {"first_token_mass/without_first", "first_token_mass_without_first", "1"},
    {"first_token_mass/renormalized", "first_token_mass_renormalized", "1"},
    {"null_mass", "null_mass", "1"},
    {"attention_entropy", "attention_entropy", "nat"},
    {"attention_max", "attention_max", "1"},
    {"sink_rate", "sink_rate", "1"},
    {"sink_rate/any", "sink_rate_any", "1"},
}};

}  // namespace

AttentionRows attention_rows(const at::Tensor& probs) {
  return {probs.select(-1, 0).to(at::kDouble), probs.sum(-1).to(at::kDouble),
          probs.amax(-1).to(at::kDouble), -at::special_entr(probs).sum(-1).to(at::kDouble)};
}

SinkRecorder::SinkRecorder(int64_t layers, bool has_null, const EvaluationOptions& options)
    : has_null_(has_null),
      threshold_(options.sink_threshold),
      length_(options.sink_length),
      layers_(static_cast<size_t>(layers)) {}

void SinkRecorder::add(int64_t layer, const at::Tensor& probs, const AttentionRows& rows,
                       const at::Tensor& null_posterior) {
  const int64_t T = probs.size(-1);
  auto& means = layers_[static_cast<size_t>(layer)];
  means[kFirst].add(rows.first, {0, 2});
  if (T > 1) means[kWithoutFirst].add(rows.first.narrow(-1, 1, T - 1), {0, 2});
  // With a null, 1 − ρ is the row's mass; summed, it keeps its digits where ρ is near 1.
  means[kRenormalized].add(has_null_ ? rows.first / rows.mass : rows.first, {0, 2});
  means[kNull].add(null_posterior, {0, 2});
  means[kEntropy].add(-rows.negative_entropy, {0, 2});
  means[kLargest].add(rows.largest, {0, 2});

  const int64_t S = std::min(T, length_), keys = (S + 1) / 2;
  const auto queries = S - at::arange(keys, probs.options().dtype(at::kDouble));
  const auto columns = probs.narrow(-2, 0, S).narrow(-1, 0, keys);  // causal: 0 for i < k
  const auto average = columns.sum(-2, /*keepdim=*/false, at::kDouble) / queries;  // [B, H, keys]
  means[kSinkRate].add(average.select(-1, 0) > threshold_, {0});
  means[kSinkRateAny].add(average.amax(-1) > threshold_, {0});
}

void SinkRecorder::report(EvaluationResult& result) const {
  for (size_t q = 0; q < kQuantities; ++q) {
    Metric metric{kNames[q].metric, {}, kNames[q].unit, 0, ""};
    double sum = 0.0;
    for (size_t i = 0; i < layers_.size(); ++i) {
      const auto& mean = layers_[i][q];
      const auto by_head = mean.values();
      for (size_t h = 0; h < by_head.size(); ++h) {
        result.statistics.push_back({fmt::format("model.layers.{}.self_attn/head{}", i, h),
                                     kNames[q].statistic, by_head[h], mean.count()});
      }
      sum += mean.mean();
      metric.n += mean.count() * static_cast<int64_t>(by_head.size());
    }
    if (metric.n > 0) {
      metric.value = sum / static_cast<double>(layers_.size());
    } else {
      metric.note = "sequences of one token have no later query";
    }
    result.metrics.push_back(metric);
  }
  for (size_t i = 0; i < layers_.size(); ++i) {
    const auto& mean = layers_[i][kNull];
    result.statistics.push_back(
        {fmt::format("model.layers.{}.self_attn", i), "null_posterior", mean.mean(), mean.count()});
  }
}

}  // namespace oasis
