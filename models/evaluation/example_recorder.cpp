#include "models/evaluation/example_recorder.h"

#include <ATen/ops/abs.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/split.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <string_view>

#include "models/evaluation/massive_recorder.h"

namespace oasis {
namespace {

constexpr std::string_view kLayerPrefix = "model.layers.";
constexpr double kLargestHalf = 65504.0;

// The first sequence's first positions.
at::Tensor first_positions(const at::Tensor& values) {
  return values.narrow(0, 0, std::min(values.size(0), kExamplePositions));
}

}  // namespace

ExampleRecorder::ExampleRecorder(int64_t layers) {
  for (int64_t i = 0; i < kExampleLayers; ++i) {
    const int64_t layer = (i * (layers - 1) + (kExampleLayers - 1) / 2) / (kExampleLayers - 1);
    if (!wants(layer)) layers_.push_back(layer);
  }
}

void ExampleRecorder::begin() {
  ++begun_;
}

bool ExampleRecorder::wants(int64_t layer) const {
  return std::ranges::count(layers_, layer) > 0;
}

void ExampleRecorder::keep(const char* quantity, const std::string& place, const at::Tensor& matrix,
                           int64_t stride) {
  const auto half =
      matrix.clamp(-kLargestHalf, kLargestHalf).to(at::kCPU).to(at::kHalf).contiguous();
  const auto* bytes = static_cast<const char*>(half.const_data_ptr());
  examples_.push_back({.quantity = quantity,
                       .place = place,
                       .rows = half.size(0),
                       .columns = half.size(1),
                       .stride = stride,
                       .contents = std::string(bytes, static_cast<size_t>(half.nbytes()))});
}

void ExampleRecorder::add_attention(int64_t layer, const at::Tensor& probs) {
  if (begun_ != 1 || !wants(layer)) return;
  const auto mean = probs.select(0, 0).mean(0);  // [T, T]
  const auto corner = first_positions(mean);
  keep("attention", "model.layers." + std::to_string(layer) + ".self_attn",
       corner.narrow(1, 0, corner.size(0)), 1);
}

void ExampleRecorder::add_router(const std::string& router, const at::Tensor& weights) {
  if (begun_ != 1) return;
  if (router != "final" && !wants(std::stoll(router.substr(0, router.find('.'))))) return;
  keep("depth_weight", router, first_positions(weights.select(0, 0)), 1);
}

void ExampleRecorder::add_site(const std::string& site, const at::Tensor& activation) {
  if (begun_ != 1 || !is_layer_output(site) || !wants(std::stoll(site.substr(kLayerPrefix.size())))) {
    return;
  }
  const auto magnitude = first_positions(activation.select(0, 0)).abs();  // [positions, D]
  const int64_t stride = (magnitude.size(1) + kExampleColumns - 1) / kExampleColumns;
  std::vector<at::Tensor> columns;
  for (const auto& group : magnitude.split(stride, 1)) columns.push_back(group.amax(1));
  keep("hidden_magnitude", site, at::stack(columns, 1), stride);
}

void ExampleRecorder::report(EvaluationResult& result) const {
  result.examples = examples_;
}

}  // namespace oasis
