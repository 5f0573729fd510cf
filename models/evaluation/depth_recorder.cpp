#include "models/evaluation/depth_recorder.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/special_entr.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>

#include <algorithm>

namespace oasis {

DepthRecorder::DepthRecorder(int64_t layers, int64_t heads, bool has_null)
    : heads_(heads), has_null_(has_null), rows_(static_cast<size_t>(layers)) {}

void DepthRecorder::add_attention(int64_t layer, const at::Tensor& probs,
                                  const AttentionRows& rows) {
  rows_[static_cast<size_t>(layer)] = rows;
  newest_probs_ = probs;
}

// Adds the newest source's last output to the sum over its run.
void DepthRecorder::follow_run(const SourceLayers& newest) {
  if (newest.empty()) return;
  run_sum_ = newest.size() == 1 ? newest_probs_ : run_sum_ + newest_probs_;
  if (newest.front() == newest.back()) return;
  rows_of_runs_[newest] = attention_rows(run_sum_ / static_cast<double>(newest.size()));
}

const AttentionRows& DepthRecorder::rows_of(const SourceLayers& source) const {
  if (source.front() == source.back()) return rows_[static_cast<size_t>(source.front())];
  return rows_of_runs_.at(source);
}

DepthRecorder::RouterFigures& DepthRecorder::figures_of(const std::string& router) {
  const auto found = std::ranges::find(routers_, router, &RouterFigures::name);
  if (found != routers_.end()) return *found;
  routers_.emplace_back().name = router;
  return routers_.back();
}

void DepthRecorder::add_router(const std::string& router, const at::Tensor& weights,
                               const std::vector<SourceLayers>& sources) {
  follow_run(sources.back());
  const auto alpha = weights.to(at::kDouble);
  auto& figures = figures_of(router);
  figures.weight.add(alpha, {0, 1});
  const auto null = 1.0 - alpha.sum(-1);
  figures.null.add(has_null_ ? null : at::zeros_like(null), {0, 1});
  figures.entropy.add(at::special_entr(alpha).sum(-1), {0, 1});
  if (alpha.size(1) > 1) add_joint_route(alpha, sources);
}

void DepthRecorder::add_joint_route(const at::Tensor& weights,
                                    const std::vector<SourceLayers>& sources) {
  const int64_t later = weights.size(1) - 1;                    // queries t ≥ 1
  const auto alpha = weights.narrow(1, 1, later).unsqueeze(1);  // [B, 1, T−1, sources]
  const auto own_entropy = -at::special_entr(alpha);            // α ln α
  auto leakage = at::zeros({alpha.size(0), heads_, later}, alpha.options());
  auto concentration = at::zeros_like(leakage);
  auto negative_entropy = at::zeros_like(leakage);
  for (size_t i = 0; i < sources.size(); ++i) {
    const auto a = alpha.select(-1, static_cast<int64_t>(i));
    const auto a_log_a = own_entropy.select(-1, static_cast<int64_t>(i));
    if (sources[i].empty()) {
      concentration = at::maximum(concentration, a);
      negative_entropy += a_log_a;
      continue;
    }
    const auto& rows = rows_of(sources[i]);
    const auto of_later = [&](const at::Tensor& x) { return x.narrow(-1, 1, later); };
    leakage += a * of_later(rows.first);
    concentration = at::maximum(concentration, a * of_later(rows.largest));
    negative_entropy += a_log_a * of_later(rows.mass) + a * of_later(rows.negative_entropy);
  }
  d4_[kLeakage].add(leakage, {0, 1, 2});
  d4_[kConcentration].add(concentration, {0, 1, 2});
  d4_[kNegativeEntropy].add(negative_entropy, {0, 1, 2});
}

void DepthRecorder::report(EvaluationResult& result) const {
  if (routers_.empty()) return;
  Metric null{"depth_null_mass", 0.0, "1", 0, ""}, entropy{"depth_entropy", 0.0, "nat", 0, ""};
  const auto count = static_cast<double>(routers_.size());
  for (const auto& router : routers_) {
    *null.value += router.null.mean() / count;
    *entropy.value += router.entropy.mean() / count;
    null.n += router.null.count();
    entropy.n += router.entropy.count();
    const int64_t tokens = router.null.count();
    result.statistics.push_back({router.name, "depth_null_mass", router.null.mean(), tokens});
    result.statistics.push_back({router.name, "depth_entropy", router.entropy.mean(), tokens});
    const auto weights = router.weight.values();
    for (size_t i = 0; i < weights.size(); ++i) {
      result.statistics.push_back(
          {fmt::format("{}/source{}", router.name, i), "depth_weight", weights[i], tokens});
    }
  }
  result.metrics.push_back(null);
  result.metrics.push_back(entropy);
  constexpr std::array<std::pair<const char*, const char*>, 3> kNames = {
      {{"d4_leakage", "1"}, {"d4_concentration", "1"}, {"d4_negative_entropy", "nat"}}};
  for (size_t q = 0; q < d4_.size(); ++q) {
    Metric metric{kNames[q].first, {}, kNames[q].second, d4_[q].count(), ""};
    if (metric.n > 0) {
      metric.value = d4_[q].mean();
    } else {
      metric.note = "sequences of one token have no query outside the sink set";
    }
    result.metrics.push_back(metric);
  }
}

}  // namespace oasis
