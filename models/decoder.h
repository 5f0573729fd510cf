// A Llama-style decoder over any method: grouped-query attention, RoPE, SwiGLU MLP, and residual
// sums or depth routers between the sublayers.
//
// Shapes: B sequences, T positions, D hidden size, H heads, d head size, V vocabulary.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "models/forward_observer.h"
#include "models/generation/key_value_cache.h"
#include "models/model_config.h"

namespace oasis {

struct Linear {
  at::Tensor weight;  // [out, in]
  at::Tensor bias;    // [out] or undefined
};

struct Router {
  // projected form
  at::Tensor q_proj, k_proj;  // [A, D]
  at::Tensor recency_bias;    // [1]
  // pseudo-query and block forms
  at::Tensor query, key_norm;  // [D]
  // learned coupling
  at::Tensor beta_raw;  // [1]
};

struct DecoderLayer {
  at::Tensor input_layernorm, post_attention_layernorm;  // [D]
  Linear q_proj, k_proj, v_proj, o_proj;
  at::Tensor q_norm, k_norm;  // [d], with QK norm
  Linear head_gate;           // [H, D/H], [H], with the gate
  Linear gate_proj, up_proj, down_proj;
  Router router_sa, router_mlp;
};

using NamedParameters = std::vector<std::pair<std::string, at::Tensor>>;

class Decoder {
 public:
  // Parameters are allocated, not set. Throws Error (bad input) when the configuration is wrong.
  Decoder(const ModelConfig& config, const at::TensorOptions& options);

  const ModelConfig& config() const { return config_; }

  // Hugging Face's names, in a fixed order; the tensors are the model's own.
  const NamedParameters& parameters() const { return parameters_; }
  int64_t parameter_count() const;
  void set_requires_grad(bool requires_grad);

  // A copy whose parameters are `transform(name, parameter)`.
  Decoder transformed(
      const std::function<at::Tensor(const std::string&, const at::Tensor&)>& transform) const;
  // The same weights in another type or on another device.
  Decoder to(const at::TensorOptions& options) const;

  // The final norm's output [B, T, D] for int64 tokens [B, T] on the model's device.
  at::Tensor forward(const at::Tensor& tokens, ForwardObserver* observer = nullptr) const;
  // The same with a key-value cache that the pass fills or goes on from. Without gradients.
  at::Tensor forward(const at::Tensor& tokens, const CacheUse& cache,
                     ForwardObserver* observer = nullptr) const;

  // [.., V] from forward's output. The head is the embedding where the two are tied.
  at::Tensor logits(const at::Tensor& hidden) const;
  at::Tensor head_weight() const;

  // Next-token cross-entropy over the B·(T−1) pairs: (mean [], per pair [B, T−1], nats).
  // `head`: another head weight in place of head_weight(), such as the unquantized one.
  std::pair<at::Tensor, at::Tensor> loss(const at::Tensor& tokens,
                                         ForwardObserver* observer = nullptr) const;

  // Attention and MLP of every layer are run again in the backward pass instead of keeping what
  // they computed. The model must then live until the backward pass is done.
  void set_recompute(bool recompute) { recompute_ = recompute; }
  bool recompute() const { return recompute_; }

  const at::Tensor& embed_tokens() const { return embed_tokens_; }
  const at::Tensor& final_norm() const { return norm_; }
  const std::vector<DecoderLayer>& layers() const { return layers_; }
  const Router& final_router() const { return final_router_; }

  // A head of its own even when tied: the unquantized embedding of a quantized model.
  void set_head(at::Tensor head) { separate_head_ = std::move(head); }
  bool has_separate_head() const { return separate_head_.defined(); }

 private:
  // Calls visitor(name, tensor, shape) for every parameter that this configuration has.
  using Visitor = std::function<void(const std::string&, at::Tensor&, const std::vector<int64_t>&)>;
  void visit(const Visitor& visitor);
  void list_parameters();

  ModelConfig config_;
  at::Tensor embed_tokens_;  // [V, D]
  std::vector<DecoderLayer> layers_;
  Router final_router_;  // pseudo-query and block forms
  at::Tensor norm_;      // [D]
  at::Tensor lm_head_;   // [V, D], untied only
  at::Tensor separate_head_;
  bool recompute_ = false;
  NamedParameters parameters_;
};

}  // namespace oasis
