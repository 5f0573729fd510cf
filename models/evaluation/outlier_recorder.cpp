#include "models/evaluation/outlier_recorder.h"

#include <ATen/TensorOperators.h>

#include <algorithm>
#include <limits>

#include "kernels/activation_stats/activation_stats.h"
#include "models/evaluation/massive_recorder.h"

namespace oasis {
namespace {

constexpr double kKurtosisEpsilon = 1e-6;

// mean((x − μ)⁴)/(s⁴ + ε) of n values from their central moment sums [.., kActivationStats].
at::Tensor kurtosis(const at::Tensor& stats, int64_t n, double epsilon) {
  const auto count = static_cast<double>(n);
  const auto variance = stats.select(-1, kM2) / (count - 1.0);
  return stats.select(-1, kM4) / count / (variance * variance + epsilon);
}

bool is_mlp_output(const std::string& site) {
  return site.ends_with(".mlp");
}

template <typename Entry>
Entry& entry_of(std::vector<Entry>& entries, const std::string& name) {
  const auto found = std::ranges::find(entries, name, &Entry::name);
  if (found != entries.end()) return *found;
  entries.emplace_back().name = name;
  return entries.back();
}

}  // namespace

void OutlierRecorder::add(const std::string& name, const at::Tensor& activation,
                          bool with_kurtosis) {
  const auto [by_sequence, by_token] = activation_stats(activation);
  const int64_t width = activation.size(2), values = activation.size(1) * width;
  auto& means = entry_of(sites_, name).means;
  means[kInfSeq].add(by_sequence.select(-1, kMaxAbs), {0});
  means[kInfToken].add(by_token.select(-1, kMaxAbs), {0, 1});
  if (!with_kurtosis) return;
  means[kKurtSeq].add(kurtosis(by_sequence, values, kKurtosisEpsilon), {0});
  means[kKurtSeqNoEps].add(kurtosis(by_sequence, values, 0.0), {0});
  means[kKurtToken].add(kurtosis(by_token, width, kKurtosisEpsilon), {0, 1});
  means[kKurtTokenNoEps].add(kurtosis(by_token, width, 0.0), {0, 1});
}

template <typename Chosen>
Metric OutlierRecorder::reduced(const std::string& name, Quantity quantity, bool maximum,
                                const Chosen& chosen) const {
  Metric metric{name, {}, "1", 0, ""};
  double sum = 0.0, largest = -std::numeric_limits<double>::infinity();
  int64_t sites = 0;
  for (const auto& site : sites_) {
    if (!chosen(site.name)) continue;
    const double value = site.means[quantity].mean();
    sum += value;
    largest = max_or_nan(value, largest);
    metric.n = site.means[quantity].count();
    ++sites;
  }
  if (metric.n == 0) {
    metric.note = "no batch was recorded";
  } else {
    metric.value = maximum ? largest : sum / static_cast<double>(sites);
  }
  return metric;
}

void OutlierRecorder::report(EvaluationResult& result) const {
  const auto all = [](const std::string&) { return true; };
  auto& metrics = result.metrics;
  metrics.push_back(reduced("max_inf_norm/seq", kInfSeq, true, all));
  metrics.push_back(reduced("avg_kurtosis/seq", kKurtSeq, false, all));
  metrics.push_back(reduced("avg_kurtosis/seq_noeps", kKurtSeqNoEps, false, all));
  metrics.push_back(reduced("max_inf_norm/token", kInfToken, true, all));
  metrics.push_back(reduced("avg_kurtosis/token", kKurtToken, false, all));
  metrics.push_back(reduced("avg_kurtosis/token_noeps", kKurtTokenNoEps, false, all));
  metrics.push_back(reduced("max_kurtosis/seq", kKurtSeq, true, all));
  metrics.push_back(reduced("max_inf_norm/seq/mlp", kInfSeq, true, is_mlp_output));
  metrics.push_back(reduced("max_inf_norm/seq/layer", kInfSeq, true, is_layer_output));
  metrics.push_back(reduced("max_kurtosis/seq/mlp", kKurtSeq, true, is_mlp_output));
  metrics.push_back(reduced("max_kurtosis/seq/layer", kKurtSeq, true, is_layer_output));
  for (const auto& site : sites_) {
    for (size_t q = 0; q < kQuantities; ++q) {
      const auto& mean = site.means[q];
      if (mean.count() > 0) {
        result.statistics.push_back({site.name, kNames[q], mean.mean(), mean.count()});
      }
    }
  }
}

}  // namespace oasis
