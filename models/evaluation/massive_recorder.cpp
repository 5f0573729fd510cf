#include "models/evaluation/massive_recorder.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/abs.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/logical_and.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/median.h>
#include <ATen/ops/nonzero.h>

#include <algorithm>
#include <cmath>

namespace oasis {
namespace {

constexpr double kMassive = 100.0;           // |x| above this …
constexpr double kMassiveToMedian = 1000.0;  // … and at least this times the median |x|
constexpr std::string_view kLayers = "model.layers.";
// A bound for memory, which a model that is not broken stays far below.
constexpr size_t kMostPlaces = 200'000;

}  // namespace

bool is_layer_output(const std::string& site) {
  return site.starts_with(kLayers) && site.find('.', kLayers.size()) == std::string::npos;
}

void MassiveActivationRecorder::begin(const at::Tensor& tokens) {
  tokens_ = tokens.to(at::kCPU).contiguous();
}

void MassiveActivationRecorder::add(const std::string& site, const at::Tensor& activation) {
  if (!is_layer_output(site)) return;
  const auto x = activation.abs().flatten(1);
  const auto median = std::get<0>(x.median(-1, /*keepdim=*/true));
  const auto massive = (x > kMassive).logical_and(x >= kMassiveToMedian * median);
  auto layer = std::ranges::find(layers_, site, &Layer::name);
  if (layer == layers_.end()) {
    layer = layers_.emplace(layer);
    layer->name = site;
  }
  layer->count.add(massive.sum(-1), {0});
  const auto ratio = (x.amax(-1) / median.squeeze(-1)).to(at::kDouble).amax();
  layer->max_to_median =
      layer->max_to_median.defined() ? at::maximum(layer->max_to_median, ratio) : ratio;
  locate(std::stoll(site.substr(kLayers.size())), activation, massive);
}

void MassiveActivationRecorder::locate(int64_t layer, const at::Tensor& activation,
                                       const at::Tensor& massive) {
  const auto found = massive.nonzero();  // [K, 2]: sequence, position·D + channel
  const auto values =
      activation.flatten(1).masked_select(massive).to(at::kDouble).to(at::kCPU).contiguous();
  const auto places = found.to(at::kCPU).contiguous();
  const auto* place = places.const_data_ptr<int64_t>();
  const auto* value = values.const_data_ptr<double>();
  const auto* tokens = tokens_.const_data_ptr<int64_t>();
  const int64_t length = tokens_.size(1), width = activation.size(2);
  for (int64_t i = 0; i < values.numel(); ++i) {
    const int64_t position = place[2 * i + 1] / width, channel = place[2 * i + 1] % width;
    const int64_t token = tokens[place[2 * i] * length + position];
    const std::array<int64_t, 3> key = {token, position, channel};
    auto known = places_.find(key);
    if (known == places_.end()) {
      if (places_.size() == kMostPlaces) continue;
      known = places_
                  .emplace(key, MassiveActivation{.token = token,
                                                  .position = position,
                                                  .channel = channel,
                                                  .first_layer = layer,
                                                  .last_layer = layer})
                  .first;
    }
    auto& entry = known->second;
    entry.first_layer = std::min(entry.first_layer, layer);
    entry.last_layer = std::max(entry.last_layer, layer);
    ++entry.n;
    if (std::abs(value[i]) > std::abs(entry.largest)) {
      entry.largest = value[i];
      entry.largest_layer = layer;
    }
  }
}

void MassiveActivationRecorder::report(EvaluationResult& result) const {
  double count = 0.0, largest = 0.0;
  int64_t sequences = 0;
  for (const auto& layer : layers_) {
    const double mean = layer.count.mean(), ratio = layer.max_to_median.item<double>();
    sequences = layer.count.count();
    count += mean;
    largest = max_or_nan(ratio, largest);
    result.statistics.push_back({layer.name, "massive_activations", mean, sequences});
    result.statistics.push_back({layer.name, "max_to_median", ratio, sequences});
  }
  const auto layers = static_cast<int64_t>(layers_.size());
  result.metrics.push_back({"massive_activations", count, "1/sequence", sequences, ""});
  result.metrics.push_back(
      {"massive_activations/max_to_median", largest, "1", sequences * layers, ""});

  auto& rows = result.massive_activations;
  for (const auto& [key, entry] : places_) rows.push_back(entry);
  std::ranges::stable_sort(rows, [](const MassiveActivation& a, const MassiveActivation& b) {
    return std::abs(a.largest) > std::abs(b.largest);
  });
  result.massive_places = static_cast<int64_t>(rows.size());
  if (rows.size() > kMassiveRows) rows.resize(kMassiveRows);
}

}  // namespace oasis
