#include "models/forward_pass.h"

#include <ATen/TensorOperators.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/sigmoid.h>
#include <fmt/format.h>

#include <cmath>

#include "kernels/attention/attention.h"
#include "kernels/gated_mlp/gated_product.h"
#include "kernels/linear/linear.h"
#include "kernels/rms_norm/rms_norm.h"
#include "kernels/rope/rope.h"
#include "models/recompute.h"
#include "support/error.h"

namespace oasis {

ForwardPass::ForwardPass(const Decoder& model, const at::Tensor& tokens, ForwardObserver* observer)
    : model_(model),
      config_(model.config()),
      tokens_(tokens),
      observer_(observer),
      batch_(tokens.size(0)),
      length_(tokens.size(1)),
      explicit_points_(observer != nullptr && observer->has_points()),
      rope_divisors_(
          config_.rope_scaling.divisors(config_.rope_theta, config_.rotary_dim(), length_)) {
  if (config_.sliding_window > 0 && length_ > config_.sliding_window) {
    throw bad_input(
        "sequences of {} tokens are longer than the model's sliding_window = {}; give shorter "
        "ones: attention is full here",
        length_, config_.sliding_window);
  }
}

at::Tensor ForwardPass::point(const std::string& name, const at::Tensor& value) {
  return explicit_points_ ? observer_->point(name, value) : value;
}

void ForwardPass::site(const std::string& name, const at::Tensor& value) {
  if (observer_ != nullptr) observer_->site(name, sequences(value));
}

at::Tensor ForwardPass::sequences(const at::Tensor& rows) const {
  if (rows.size(0) == batch_ && rows.dim() == 3) return rows;
  auto shape = rows.sizes().vec();
  shape[0] = batch_;
  shape.insert(shape.begin() + 1, length_);
  return rows.view(shape);
}

at::Tensor ForwardPass::linear(const at::Tensor& x, const Linear& weights,
                               const std::string& name) {
  return point(name, oasis::linear(x, weights.weight, weights.bias));
}

at::Tensor ForwardPass::norm(const at::Tensor& x, const at::Tensor& weight, const std::string& name,
                             bool is_site) {
  auto y = rms_norm(x, weight, config_.rms_norm_eps);
  if (!name.empty()) y = point(name, y);
  if (is_site) site(name, y);
  return y;
}

at::Tensor ForwardPass::rotate(const at::Tensor& x) {
  const auto turned = [&](const at::Tensor& part) {
    return rope(part, config_.rope_theta, 0, rope_divisors_, config_.rope_scaling.attention_factor);
  };
  const int64_t rotated = config_.rotary_dim(), rest = config_.head_dim - rotated;
  if (rest == 0) return turned(x);
  return at::cat({turned(x.narrow(-1, 0, rotated)), x.narrow(-1, rotated, rest)}, -1);
}

std::pair<at::Tensor, at::Tensor> ForwardPass::attend(int64_t layer, const at::Tensor& q,
                                                      const at::Tensor& k, const at::Tensor& v) {
  const double scale = 1.0 / std::sqrt(static_cast<double>(config_.head_dim));
  const auto& normalizer = config_.method.token;
  const bool wants_probabilities = observer_ != nullptr && observer_->has_attention();
  if (!explicit_points_ && !wants_probabilities) {
    auto [context, rho] = oasis::attention(q, k, v, normalizer, scale);
    return {context, rho};
  }
  const auto name = fmt::format("model.layers.{}.self_attn", layer);
  const int64_t group = config_.num_attention_heads / config_.num_key_value_heads;
  const auto keys = group == 1 ? k : k.repeat_interleave(group, 1);
  const auto values = group == 1 ? v : v.repeat_interleave(group, 1);
  const auto scores = point(name + ".scores", at::matmul(q, keys.transpose(-2, -1)) * scale);
  const auto [probs, rho] = attention_weights(scores, normalizer);
  if (wants_probabilities) observer_->attention(layer, probs, rho);
  return {at::matmul(point(name + ".probs", probs), values.to(probs.scalar_type())), rho};
}

ForwardPass::AttentionOutput ForwardPass::attention(int64_t index, const at::Tensor& input) {
  if (!model_.recompute() || observer_ != nullptr) return run_attention(index, input);
  const auto outputs = recompute(
      [model = &model_, tokens = tokens_, index](const at::Tensor& x) {
        const auto out = ForwardPass(*model, tokens, nullptr).run_attention(index, x);
        return out.psi.defined() ? std::vector{out.value, out.psi} : std::vector{out.value};
      },
      input);
  return {outputs[0], outputs.size() > 1 ? outputs[1] : at::Tensor()};
}

at::Tensor ForwardPass::mlp(int64_t index, const at::Tensor& input) {
  if (!model_.recompute() || observer_ != nullptr) return run_mlp(index, input);
  return recompute(
      [model = &model_, tokens = tokens_, index](const at::Tensor& x) {
        return std::vector{ForwardPass(*model, tokens, nullptr).run_mlp(index, x)};
      },
      input)[0];
}

ForwardPass::AttentionOutput ForwardPass::run_attention(int64_t index, const at::Tensor& input) {
  const auto& layer = model_.layers()[static_cast<size_t>(index)];
  const auto name = fmt::format("model.layers.{}", index);
  const auto attn = name + ".self_attn";
  const auto x = sequences(norm(input, layer.input_layernorm, name + ".input_layernorm", true));
  const auto heads = [&](const at::Tensor& projected) {
    return projected.view({batch_, length_, -1, config_.head_dim});
  };
  auto q = heads(linear(x, layer.q_proj, attn + ".q_proj"));
  auto k = heads(linear(x, layer.k_proj, attn + ".k_proj"));
  const auto v = heads(linear(x, layer.v_proj, attn + ".v_proj")).transpose(1, 2);
  if (config_.qk_norm) {
    q = norm(q, layer.q_norm, "", false);
    k = norm(k, layer.k_norm, "", false);
  }
  q = rotate(q.transpose(1, 2));
  k = rotate(k.transpose(1, 2));
  const auto [by_head, rho] = attend(index, q, k, v);
  auto context = point(attn + ".context", by_head.transpose(1, 2).reshape({batch_, length_, -1}));
  if (config_.method.gate) {
    const auto slices = x.view({batch_, length_, config_.num_attention_heads, -1});
    const auto logits = (slices * layer.head_gate.weight).sum(-1) + layer.head_gate.bias;
    context = (heads(context) * at::sigmoid(logits).unsqueeze(-1).to(context.scalar_type()))
                  .reshape({batch_, length_, -1});
    context = point(attn + ".gated_context", context);
  }
  AttentionOutput out;
  out.value = linear(context, layer.o_proj, attn + ".o_proj");
  site(attn + ".o_proj", out.value);
  if (config_.method.token.has_null()) {
    out.psi = rho.mean(1).reshape({-1});
    if (observer_ != nullptr) observer_->branch_null(index, out.psi.view({batch_, length_}));
  }
  return out;
}

at::Tensor ForwardPass::run_mlp(int64_t index, const at::Tensor& input) {
  const auto& layer = model_.layers()[static_cast<size_t>(index)];
  const auto name = fmt::format("model.layers.{}", index);
  const auto x = sequences(
      norm(input, layer.post_attention_layernorm, name + ".post_attention_layernorm", true));
  const auto gate = linear(x, layer.gate_proj, name + ".mlp.gate_proj");
  const auto up = linear(x, layer.up_proj, name + ".mlp.up_proj");
  const auto product = point(name + ".mlp.product", gated_product(gate, up));
  const auto out = linear(product, layer.down_proj, name + ".mlp.down_proj");
  site(name + ".mlp", out);
  return out;
}

at::Tensor ForwardPass::run_residual(at::Tensor h) {
  for (int64_t i = 0; i < config_.num_hidden_layers; ++i) {
    const auto name = fmt::format("model.layers.{}", i);
    h = point(name + ".attn_res_sa", h + attention(i, h).value);
    h = point(name + ".attn_res_mlp", h + mlp(i, h));
    site(name, h);
  }
  return h;
}

at::Tensor ForwardPass::run() {
  auto embedding = point("model.embed_tokens", at::embedding(model_.embed_tokens(), tokens_));
  if (at::autocast::is_autocast_enabled(at::kCUDA)) {
    embedding = embedding.to(at::autocast::get_autocast_dtype(at::kCUDA));
  }
  at::Tensor h;
  switch (config_.method.routing) {
    case Routing::kNone:
      h = run_residual(embedding);
      break;
    case Routing::kProjected:
      h = run_projected(embedding);
      break;
    case Routing::kPseudoQuery:
    case Routing::kBlock:
      h = run_pseudo_query(embedding);
      break;
  }
  return sequences(norm(h, model_.final_norm(), "model.norm", true));
}

}  // namespace oasis
