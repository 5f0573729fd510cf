#include "models/quantization.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/round.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/fake_quantize/fake_quantize.h"
#include "support/error.h"
#include "support/text.h"

namespace oasis {
namespace {

const std::vector<std::string>& point_set_names() {
  static const std::vector<std::string> names = {"published", "all_inputs"};
  return names;
}

bool ends_with_any(const std::string& name, const auto& suffixes) {
  return std::ranges::any_of(
      suffixes, [&](std::string_view s) { return std::string_view(name).ends_with(s); });
}

// The weights are quantized as soon as the members are built: checked before that.
const QuantizationOptions& validated(const QuantizationOptions& options) {
  options.validate();
  return options;
}

const std::vector<std::string>& activation_range_names() {
  static const std::vector<std::string> names = {"percentile", "per_token"};
  return names;
}

// x on a symmetric grid for each row of its last dimension; half types in float32.
at::Tensor fake_quantize_rows(const at::Tensor& x, int64_t bits) {
  const double most = std::ldexp(1.0, static_cast<int>(bits) - 1);
  const auto wide = x.scalar_type() == at::kDouble ? x : x.to(at::kFloat);
  const auto scale = (at::amax(wide.abs(), {-1}, /*keepdim=*/true) / (most - 1)).clamp_min(1e-12);
  return (at::clamp(at::round(wide / scale), -most, most - 1) * scale).to(x.scalar_type());
}

bool is_quantized_weight(const std::string& name) {
  return name == "model.embed_tokens.weight" || std::string_view(name).ends_with("_proj.weight");
}

}  // namespace

QuantizationPoints parse_quantization_points(std::string_view name) {
  const auto& names = point_set_names();
  const auto found = std::ranges::find(names, name);
  if (found == names.end()) {
    throw bad_input("unknown set of quantization points '{}'{}", name, suggestion(name, names));
  }
  return static_cast<QuantizationPoints>(found - names.begin());
}

std::string_view quantization_points_name(QuantizationPoints points) {
  return point_set_names()[static_cast<size_t>(points)];
}

ActivationRange parse_activation_range(std::string_view name) {
  const auto& names = activation_range_names();
  const auto found = std::ranges::find(names, name);
  if (found == names.end()) {
    throw bad_input("unknown range of activations '{}'{}; known: {}", name, suggestion(name, names),
                    join(names, ", "));
  }
  return static_cast<ActivationRange>(found - names.begin());
}

void QuantizationOptions::validate() const {
  for (const auto& [name, bits] :
       {std::pair("weight_bits", weight_bits), std::pair("activation_bits", activation_bits)}) {
    if (bits < 2 || bits > 16) throw bad_input("{} = {} must lie in [2, 16]", name, bits);
  }
  if (!(momentum >= 0 && momentum < 1)) {
    throw bad_input("momentum = {} must lie in [0, 1)", momentum);
  }
  if (!(percentile > 50 && percentile <= 100)) {
    throw bad_input("percentile = {} must lie in (50, 100]", percentile);
  }
}

bool is_quantization_point(const std::string& name, QuantizationPoints points) {
  constexpr std::array<std::string_view, 6> kPublished = {
      "_proj",        ".self_attn.scores", ".self_attn.probs", ".self_attn.context",
      ".attn_res_sa", ".attn_res_mlp"};
  constexpr std::array<std::string_view, 6> kInputs = {
      "model.embed_tokens", ".input_layernorm", ".post_attention_layernorm",
      "model.norm",         ".mlp.product",     ".self_attn.gated_context"};
  return ends_with_any(name, kPublished) ||
         (points == QuantizationPoints::kAllInputs && ends_with_any(name, kInputs));
}

class QuantizedModel::Quantizer : public ForwardObserver {
 public:
  explicit Quantizer(QuantizedModel& owner) : owner_(owner) {}

  bool has_points() const override { return true; }
  // A row's scale must be the same when it is decoded, without the keys after it.
  bool hides_later_scores() const override {
    return owner_.options_.activations == ActivationRange::kPerToken;
  }
  bool has_attention() const override {
    return owner_.recorder_ != nullptr && owner_.recorder_->has_attention();
  }

  at::Tensor point(const std::string& name, const at::Tensor& value) override {
    const auto& options = owner_.options_;
    if (!is_quantization_point(name, options.points)) return value;
    if (options.activations == ActivationRange::kPerToken) {
      return fake_quantize_rows(value, options.activation_bits);
    }
    if (owner_.calibrating_) update_range(name, value);
    const auto range = owner_.ranges_.find(name);
    if (range == owner_.ranges_.end()) {
      throw failed("quantization point '{}' was never calibrated", name);
    }
    return fake_quantize(value, range->second.first, range->second.second, options.activation_bits);
  }

  void site(const std::string& name, const at::Tensor& value) override {
    if (owner_.recorder_ != nullptr) owner_.recorder_->site(name, value);
  }
  void attention(int64_t layer, const at::Tensor& probs, const at::Tensor& rho) override {
    if (owner_.recorder_ != nullptr) owner_.recorder_->attention(layer, probs, rho);
  }
  void branch_null(int64_t layer, const at::Tensor& psi) override {
    if (owner_.recorder_ != nullptr) owner_.recorder_->branch_null(layer, psi);
  }
  void depth_weights(const std::string& router, const at::Tensor& weights,
                     const std::vector<SourceLayers>& sources) override {
    if (owner_.recorder_ != nullptr) owner_.recorder_->depth_weights(router, weights, sources);
  }

 private:
  void update_range(const std::string& name, const at::Tensor& value) {
    const auto& options = owner_.options_;
    const double upper = options.percentile / 100.0;
    const auto batch = percentile_range(value, 1.0 - upper, upper)
                           .to(at::TensorOptions(at::kCPU).dtype(at::kDouble));
    const auto* bounds = batch.const_data_ptr<double>();
    if (!std::isfinite(bounds[0]) || !std::isfinite(bounds[1])) {
      throw failed("quantization point '{}' saw values that are not finite", name);
    }
    const auto [range, first] = owner_.ranges_.try_emplace(name, std::pair(bounds[0], bounds[1]));
    if (first) return;
    const auto mix = [&](double& running, double now) {
      running = options.momentum * running + (1.0 - options.momentum) * now;
    };
    mix(range->second.first, bounds[0]);
    mix(range->second.second, bounds[1]);
  }

  QuantizedModel& owner_;
};

QuantizedModel::QuantizedModel(const Decoder& model, const QuantizationOptions& options)
    : model_(model.transformed([&](const std::string& name, const at::Tensor& parameter) {
        return is_quantized_weight(name)
                   ? quantized_weight(parameter.detach(), validated(options).weight_bits,
                                      options.weights)
                   : parameter.detach();
      })),
      options_(options),
      quantizer_(std::make_unique<Quantizer>(*this)) {
  // The head keeps its float weights, also where it is the embedding.
  model_.set_head(model.head_weight().detach());
}

QuantizedModel::~QuantizedModel() = default;

void QuantizedModel::calibrate(const at::Tensor& tokens) {
  if (options_.activations == ActivationRange::kPerToken) return;
  const at::NoGradGuard no_grad;
  calibrating_ = true;
  model_.forward(tokens, quantizer_.get());
  calibrating_ = false;
}

ForwardObserver& QuantizedModel::observer() {
  if (ranges_.empty() && options_.activations == ActivationRange::kPercentile)
    throw failed("the quantized model was not calibrated");
  return *quantizer_;
}

}  // namespace oasis
