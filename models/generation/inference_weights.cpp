#include "models/generation/inference_weights.h"

#include <ATen/ops/cat.h>
#include <fmt/format.h>

#include <string>
#include <unordered_map>
#include <vector>

namespace oasis {

Decoder inference_weights(const Decoder& model, at::ScalarType type, at::Device device) {
  const auto other_type = type == at::kDouble ? at::kDouble : at::kFloat;
  const auto moved = [&](const at::Tensor& parameter) {
    return parameter.detach().to(device, parameter.dim() == 2 ? type : other_type);
  };
  std::unordered_map<std::string, at::Tensor> joined;  // views of the matrices laid together
  const auto join = [&](const std::string& prefix, const std::vector<std::string>& names,
                        const std::vector<at::Tensor>& weights) {
    std::vector<at::Tensor> parts;
    for (const auto& weight : weights) parts.push_back(moved(weight));
    const auto whole = at::cat(parts);
    int64_t row = 0;
    for (size_t i = 0; i < names.size(); ++i) {
      const auto rows = parts[i].size(0);
      joined[fmt::format("{}.{}.weight", prefix, names[i])] = whole.narrow(0, row, rows);
      row += rows;
    }
  };
  for (size_t i = 0; i < model.layers().size(); ++i) {
    const auto& layer = model.layers()[i];
    join(fmt::format("model.layers.{}.self_attn", i), {"q_proj", "k_proj", "v_proj"},
         {layer.q_proj.weight, layer.k_proj.weight, layer.v_proj.weight});
    join(fmt::format("model.layers.{}.mlp", i), {"gate_proj", "up_proj"},
         {layer.gate_proj.weight, layer.up_proj.weight});
  }
  auto copy = model.transformed([&](const std::string& name, const at::Tensor& parameter) {
    const auto found = joined.find(name);
    return found != joined.end() ? found->second : moved(parameter);
  });
  // A head of its own although tied: transformed() leaves it as it is.
  if (model.has_separate_head()) copy.set_head(moved(model.head_weight()));
  return copy;
}

}  // namespace oasis
