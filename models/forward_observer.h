// What looks into a forward pass: records values, or replaces them by their quantized ones.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace oasis {

using SourceLayers = std::vector<int64_t>;

class ForwardObserver {
 public:
  virtual ~ForwardObserver() = default;

  // True when `point` is wanted: attention then runs on explicit T × T scores, and projected
  // routers on materialised keys, so that every named point exists.
  virtual bool has_points() const { return false; }
  // True when the point of the scores must not see later keys: they are 0 in it. Else it has the
  // whole T × T product.
  virtual bool hides_later_scores() const { return false; }
  // True when `attention` is wanted.
  virtual bool has_attention() const { return false; }

  // A value at a quantization point (names: PROTOCOLS.md, Quantization). What is returned flows on.
  virtual at::Tensor point(const std::string& /*name*/, const at::Tensor& value) { return value; }

  // A recorded site's activation [B, T, D] (names: DESIGN.md, Outliers).
  virtual void site(const std::string& /*name*/, const at::Tensor& /*value*/) {}

  // One layer's probabilities [B, H, T, T] and null posterior [B, H, T].
  virtual void attention(int64_t /*layer*/, const at::Tensor& /*probs*/,
                         const at::Tensor& /*null_posterior*/) {}

  // One layer's branch null ψ [B, T].
  virtual void branch_null(int64_t /*layer*/, const at::Tensor& /*psi*/) {}

  // A router's weights α [B, T, n]; router "{layer}.sa", "{layer}.mlp" or "final".
  // `sources[i]` are the layers of the outputs that source i holds, in order: none for the
  // embedding, one for an output or a state, one for each output of a run (block form).
  virtual void depth_weights(const std::string& /*router*/, const at::Tensor& /*weights*/,
                             const std::vector<SourceLayers>& /*sources*/) {}
};

}  // namespace oasis
