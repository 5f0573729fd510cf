#include "suites/inspection.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "kernels/cross_entropy/linear_cross_entropy.h"
#include "models/stored_weights.h"
#include "support/error.h"

namespace oasis {
namespace {

class Recorder : public ForwardObserver {
 public:
  Recorder(bool attention, int64_t layers)
      : attention_(attention), psi_(static_cast<size_t>(layers)) {}

  bool has_attention() const override { return attention_; }
  void site(const std::string& name, const at::Tensor& value) override {
    tensors_.emplace_back("site." + name, value.detach());
  }
  void attention(int64_t layer, const at::Tensor& probs, const at::Tensor&) override {
    tensors_.emplace_back(fmt::format("probs.{}", layer), probs.detach());
  }
  void branch_null(int64_t layer, const at::Tensor& psi) override {
    psi_[static_cast<size_t>(layer)] = psi.detach();
  }
  void depth_weights(const std::string& router, const at::Tensor& weights,
                     const std::vector<SourceLayers>&) override {
    tensors_.emplace_back("depth_weights." + router, weights.detach());
  }

  NamedTensors take(const at::Tensor& logits) {
    auto result = std::move(tensors_);
    result.emplace(result.begin(), "logits", logits);
    for (size_t i = 0; i < psi_.size(); ++i) {
      auto psi = psi_[i];
      if (!psi.defined()) psi = at::zeros({logits.size(0), logits.size(1)}, logits.options());
      result.emplace_back(fmt::format("null_posterior.{}", i), psi);
    }
    return result;
  }

 private:
  bool attention_;
  NamedTensors tensors_;
  std::vector<at::Tensor> psi_;
};

}  // namespace

NamedTensors inspect(Decoder& model, const at::Tensor& tokens, const InspectionOptions& options,
                     QuantizedModel* quantized) {
  Recorder recorder(options.attention, model.config().num_hidden_layers);
  ForwardObserver* observer = &recorder;
  if (quantized != nullptr) {
    quantized->set_recorder(&recorder);
    observer = &quantized->observer();
  }
  const auto& runner = quantized != nullptr ? quantized->model() : model;
  if (options.gradients) model.set_requires_grad(true);
  NamedTensors result;
  {
    const at::AutoGradMode mode(options.gradients);
    const auto hidden = runner.forward(tokens, observer);
    at::Tensor logits;
    {
      const at::NoGradGuard no_grad;
      logits = runner.logits(hidden.detach());
    }
    result = recorder.take(logits);
    const int64_t B = tokens.size(0), T = tokens.size(1);
    if (options.targets.defined()) {
      const auto loss = std::get<0>(linear_cross_entropy(
          hidden.reshape({B * T, -1}), runner.head_weight(), options.targets.reshape({-1})));
      result.emplace_back("loss", loss.detach());
      if (options.gradients) loss.backward();
    } else if (options.gradients && T > 1) {
      const auto pairs = hidden.narrow(1, 0, T - 1).reshape({B * (T - 1), -1});
      const auto targets = tokens.narrow(1, 1, T - 1).reshape({-1}).contiguous();
      std::get<0>(linear_cross_entropy(pairs, runner.head_weight(), targets)).backward();
    }
  }
  if (options.gradients) {
    for (const auto& weight : stored_weights(model)) {
      result.emplace_back("grad." + weight.name, weight.stack([](const at::Tensor& part) {
        return part.grad().defined() ? part.grad() : at::zeros_like(part).detach();
      }));
    }
  }
  if (quantized != nullptr) {
    quantized->set_recorder(nullptr);
    for (const auto& [point, range] : quantized->ranges()) {
      auto bounds = at::empty({2}, at::TensorOptions(at::kDouble));
      bounds.mutable_data_ptr<double>()[0] = range.first;
      bounds.mutable_data_ptr<double>()[1] = range.second;
      result.emplace_back("range." + point, bounds);
    }
  }
  return result;
}

}  // namespace oasis
