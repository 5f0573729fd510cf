#include "models/stored_weights.h"

#include <ATen/ops/cat.h>

#include <map>
#include <string_view>

namespace oasis {
namespace {

constexpr std::string_view kFused[][2] = {{".self_attn.q_proj.", ".self_attn.qkv_proj."},
                                          {".self_attn.k_proj.", ".self_attn.qkv_proj."},
                                          {".self_attn.v_proj.", ".self_attn.qkv_proj."},
                                          {".mlp.gate_proj.", ".mlp.gate_up_proj."},
                                          {".mlp.up_proj.", ".mlp.gate_up_proj."}};

std::string stored_name(const std::string& name, const ModelConfig& config) {
  if (!config.fused_projections) return name;
  for (const auto& [part, whole] : kFused) {
    const auto position = name.find(part);
    if (position == std::string::npos) continue;
    return std::string(name).replace(position, part.size(), whole);
  }
  return name;
}

}  // namespace

std::vector<int64_t> StoredWeight::sizes() const {
  auto sizes = parts.front().sizes().vec();
  for (size_t i = 1; i < parts.size(); ++i) sizes.front() += parts[i].size(0);
  return sizes;
}

at::Tensor StoredWeight::stack(const std::function<at::Tensor(const at::Tensor&)>& value_of) const {
  if (parts.size() == 1) return value_of(parts.front());
  std::vector<at::Tensor> values;
  for (const auto& part : parts) values.push_back(value_of(part));
  return at::cat(values, 0);
}

void StoredWeight::assign(const at::Tensor& stored) const {
  int64_t row = 0;
  for (const auto& part : parts) {
    part.copy_(stored.narrow(0, row, part.size(0)));
    row += part.size(0);
  }
}

std::vector<StoredWeight> stored_weights(const Decoder& model) {
  std::vector<StoredWeight> weights;
  std::map<std::string, size_t> index;
  for (const auto& [name, parameter] : model.parameters()) {
    const auto [place, first] =
        index.try_emplace(stored_name(name, model.config()), weights.size());
    if (first) weights.push_back({place->first, {}});
    weights[place->second].parts.push_back(parameter);
  }
  return weights;
}

}  // namespace oasis
