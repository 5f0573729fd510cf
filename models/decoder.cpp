#include "models/decoder.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linear.h>

#include "kernels/cross_entropy/linear_cross_entropy.h"
#include "models/forward_pass.h"
#include "support/error.h"

namespace oasis {

void Decoder::visit(const Visitor& visitor) {
  const auto& c = config_;
  const auto& m = c.method;
  const int64_t D = c.hidden_size, d = c.head_dim;
  const auto linear = [&](const std::string& name, Linear& layer, int64_t out, int64_t in,
                          bool bias) {
    visitor(name + ".weight", layer.weight, {out, in});
    if (bias) visitor(name + ".bias", layer.bias, {out});
  };
  const auto router = [&](const std::string& name, Router& r) {
    if (m.routing == Routing::kProjected) {
      visitor(name + ".q_proj.weight", r.q_proj, {m.router_size, D});
      visitor(name + ".k_proj.weight", r.k_proj, {m.router_size, D});
      visitor(name + ".recency_bias", r.recency_bias, {1});
    } else {
      visitor(name + ".query", r.query, {D});
      visitor(name + ".key_norm.weight", r.key_norm, {D});
    }
    if (m.has_learned_beta()) visitor(name + ".oasis_beta_raw", r.beta_raw, {1});
  };
  visitor("model.embed_tokens.weight", embed_tokens_, {c.vocab_size, D});
  for (size_t i = 0; i < layers_.size(); ++i) {
    auto& layer = layers_[i];
    const std::string name = fmt::format("model.layers.{}", i);
    visitor(name + ".input_layernorm.weight", layer.input_layernorm, {D});
    const int64_t q_size = c.num_attention_heads * d, kv_size = c.num_key_value_heads * d;
    linear(name + ".self_attn.q_proj", layer.q_proj, q_size, D, c.attention_bias);
    linear(name + ".self_attn.k_proj", layer.k_proj, kv_size, D, c.attention_bias);
    linear(name + ".self_attn.v_proj", layer.v_proj, kv_size, D, c.attention_bias);
    linear(name + ".self_attn.o_proj", layer.o_proj, D, q_size, c.attention_bias);
    if (c.qk_norm) {
      visitor(name + ".self_attn.q_norm.weight", layer.q_norm, {d});
      visitor(name + ".self_attn.k_norm.weight", layer.k_norm, {d});
    }
    if (m.gate) {
      linear(name + ".self_attn.gate", layer.head_gate, c.num_attention_heads,
             D / c.num_attention_heads, true);
    }
    visitor(name + ".post_attention_layernorm.weight", layer.post_attention_layernorm, {D});
    linear(name + ".mlp.gate_proj", layer.gate_proj, c.intermediate_size, D, c.mlp_bias);
    linear(name + ".mlp.up_proj", layer.up_proj, c.intermediate_size, D, c.mlp_bias);
    linear(name + ".mlp.down_proj", layer.down_proj, D, c.intermediate_size, c.mlp_bias);
    if (m.routing != Routing::kNone) {
      router(name + ".attn_res_sa", layer.router_sa);
      router(name + ".attn_res_mlp", layer.router_mlp);
    }
  }
  if (m.routing == Routing::kPseudoQuery || m.routing == Routing::kBlock) {
    router("model.final_res", final_router_);
  }
  visitor("model.norm.weight", norm_, {D});
  if (!c.tie_word_embeddings) visitor("lm_head.weight", lm_head_, {c.vocab_size, D});
}

Decoder::Decoder(const ModelConfig& config, const at::TensorOptions& options) : config_(config) {
  config_.validate("model");
  layers_.resize(static_cast<size_t>(config_.num_hidden_layers));
  visit([&](const std::string&, at::Tensor& parameter, const std::vector<int64_t>& shape) {
    parameter = at::empty(shape, options);
  });
  list_parameters();
}

void Decoder::list_parameters() {
  parameters_.clear();
  visit([&](const std::string& name, at::Tensor& parameter, const std::vector<int64_t>&) {
    parameters_.emplace_back(name, parameter);
  });
}

int64_t Decoder::parameter_count() const {
  int64_t count = 0;
  for (const auto& [name, parameter] : parameters_) count += parameter.numel();
  return count;
}

void Decoder::set_requires_grad(bool requires_grad) {
  for (auto& [name, parameter] : parameters_) parameter.set_requires_grad(requires_grad);
}

Decoder Decoder::transformed(
    const std::function<at::Tensor(const std::string&, const at::Tensor&)>& transform) const {
  Decoder copy(*this);
  copy.visit([&](const std::string& name, at::Tensor& parameter, const std::vector<int64_t>&) {
    parameter = transform(name, parameter);
  });
  copy.list_parameters();
  return copy;
}

Decoder Decoder::to(const at::TensorOptions& options) const {
  auto copy = transformed([&](const std::string&, const at::Tensor& parameter) {
    return parameter.detach().to(options, /*non_blocking=*/false, /*copy=*/true);
  });
  if (separate_head_.defined()) copy.separate_head_ = separate_head_.to(options);
  return copy;
}

at::Tensor Decoder::head_weight() const {
  if (separate_head_.defined()) return separate_head_;
  return config_.tie_word_embeddings ? embed_tokens_ : lm_head_;
}

at::Tensor Decoder::logits(const at::Tensor& hidden) const {
  return at::linear(hidden, head_weight());
}

at::Tensor Decoder::forward(const at::Tensor& tokens, ForwardObserver* observer) const {
  return ForwardPass(*this, tokens, observer).run();
}

at::Tensor Decoder::forward(const at::Tensor& tokens, const CacheUse& cache,
                            ForwardObserver* observer) const {
  const at::NoGradGuard no_grad;
  return ForwardPass(*this, tokens, observer, &cache).run();
}

std::pair<at::Tensor, at::Tensor> Decoder::loss(const at::Tensor& tokens,
                                                ForwardObserver* observer) const {
  const int64_t B = tokens.size(0), T = tokens.size(1);
  const auto hidden = forward(tokens, observer);
  // The last position of a sequence predicts nothing; ignoring it is cheaper than cutting it off.
  auto targets = at::full({B, T}, kIgnoredTarget, tokens.options());
  if (T > 1) targets.narrow(1, 0, T - 1).copy_(tokens.narrow(1, 1, T - 1));
  const auto [mean, per_token] =
      linear_cross_entropy(hidden.reshape({B * T, -1}), head_weight(), targets.reshape({-1}));
  return {mean, per_token.view({B, T}).narrow(1, 0, T - 1)};
}

}  // namespace oasis
