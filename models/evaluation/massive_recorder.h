// Massive activations of the layer outputs: how many, and at which tokens, positions and channels.
// Definitions: models/evaluation.h.
#pragma once

#include <array>
#include <map>
#include <string>
#include <vector>

#include "models/evaluation.h"
#include "models/evaluation/running_mean.h"

namespace oasis {

class MassiveActivationRecorder {
 public:
  // The tokens [B, T] of the activations that follow.
  void begin(const at::Tensor& tokens);
  void add(const std::string& site, const at::Tensor& activation);  // layer outputs; else ignored
  void report(EvaluationResult& result) const;

 private:
  struct Layer {
    std::string name;
    RunningMean count;         // per sequence
    at::Tensor max_to_median;  // [], the largest so far
  };
  // `massive` [B, T·D]: where `activation` [B, T, D] is.
  void locate(int64_t layer, const at::Tensor& activation, const at::Tensor& massive);

  at::Tensor tokens_;  // [B, T] on the CPU
  std::vector<Layer> layers_;
  std::map<std::array<int64_t, 3>, MassiveActivation> places_;  // by token, position, channel
};

// "model.layers.{i}"
bool is_layer_output(const std::string& site);

}  // namespace oasis
