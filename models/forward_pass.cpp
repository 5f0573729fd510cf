#include "models/forward_pass.h"

#include <ATen/TensorOperators.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/matmul.h>
#include <fmt/format.h>

#include <cmath>

#include "kernels/attention/attention.h"
#include "kernels/gated_mlp/gated_product.h"
#include "kernels/head_gate/head_gate.h"
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

std::vector<at::Tensor> ForwardPass::linears(
    const at::Tensor& x, const std::vector<std::pair<const Linear*, std::string>>& layers) {
  std::vector<at::Tensor> weights, outputs;
  bool plain = !explicit_points_;
  for (const auto& [layer, name] : layers) {
    weights.push_back(layer->weight);
    plain = plain && !layer->bias.defined();
  }
  if (plain) return oasis::linears(x, weights);
  for (const auto& [layer, name] : layers) outputs.push_back(linear(x, *layer, name));
  return outputs;
}

at::Tensor ForwardPass::add_and_norm(at::Tensor& h, const at::Tensor& branch,
                                     const std::string& sum, const at::Tensor& weight,
                                     const std::string& name) {
  at::Tensor y;
  if (explicit_points_) {
    if (branch.defined()) h = point(sum, h + branch);
    y = point(name, rms_norm(h, weight, config_.rms_norm_eps));
  } else {
    std::tie(h, y) = add_rms_norm(h, branch, weight, config_.rms_norm_eps);
  }
  site(name, y);
  return sequences(y);
}

at::Tensor ForwardPass::heads(const at::Tensor& projected) const {
  return projected.view({batch_, length_, -1, config_.head_dim}).transpose(1, 2);
}

at::Tensor ForwardPass::rotate(const at::Tensor& x, const at::Tensor& gain) {
  const auto& scaling = config_.rope_scaling;
  const int64_t rotated = config_.rotary_dim(), rest = config_.head_dim - rotated;
  if (rest == 0 && gain.defined()) {
    return rms_norm_rope(x, gain, config_.rms_norm_eps, config_.rope_theta, 0, rope_divisors_,
                         scaling.attention_factor);
  }
  const auto y = gain.defined() ? rms_norm(x, gain, config_.rms_norm_eps) : x;
  const auto turned = [&](const at::Tensor& part) {
    return rope(part, config_.rope_theta, 0, rope_divisors_, scaling.attention_factor);
  };
  if (rest == 0) return turned(y);
  return at::cat({turned(y.narrow(-1, 0, rotated)), y.narrow(-1, rotated, rest)}, -1);
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

ForwardPass::AttentionOutput ForwardPass::attention(int64_t index, at::Tensor& h,
                                                    const at::Tensor& branch,
                                                    const std::string& sum) {
  const auto normed = [index](ForwardPass& pass, at::Tensor& x, const at::Tensor& added,
                              const std::string& point) {
    const auto name = fmt::format("model.layers.{}.input_layernorm", index);
    const auto& layer = pass.model_.layers()[static_cast<size_t>(index)];
    return pass.add_and_norm(x, added, point, layer.input_layernorm, name);
  };
  if (!recomputes()) return run_attention(index, normed(*this, h, branch, sum));
  if (branch.defined()) h = h + branch;
  const auto outputs = recompute(
      [normed, index, model = &model_, tokens = tokens_](const at::Tensor& input) {
        ForwardPass pass(*model, tokens, nullptr);
        at::Tensor x = input;
        const auto out = pass.run_attention(index, normed(pass, x, {}, ""));
        return out.psi.defined() ? std::vector{out.value, out.psi} : std::vector{out.value};
      },
      h);
  return {outputs[0], outputs.size() > 1 ? outputs[1] : at::Tensor()};
}

at::Tensor ForwardPass::mlp(int64_t index, at::Tensor& h, const at::Tensor& branch,
                            const std::string& sum) {
  const auto normed = [index](ForwardPass& pass, at::Tensor& x, const at::Tensor& added,
                              const std::string& point) {
    const auto name = fmt::format("model.layers.{}.post_attention_layernorm", index);
    const auto& layer = pass.model_.layers()[static_cast<size_t>(index)];
    return pass.add_and_norm(x, added, point, layer.post_attention_layernorm, name);
  };
  if (!recomputes()) return run_mlp(index, normed(*this, h, branch, sum));
  if (branch.defined()) h = h + branch;
  return recompute(
      [normed, index, model = &model_, tokens = tokens_](const at::Tensor& input) {
        ForwardPass pass(*model, tokens, nullptr);
        at::Tensor x = input;
        return std::vector{pass.run_mlp(index, normed(pass, x, {}, ""))};
      },
      h)[0];
}

ForwardPass::AttentionOutput ForwardPass::run_attention(int64_t index, const at::Tensor& x) {
  const auto& layer = model_.layers()[static_cast<size_t>(index)];
  const auto attn = fmt::format("model.layers.{}.self_attn", index);
  const auto projected = linears(x, {{&layer.q_proj, attn + ".q_proj"},
                                     {&layer.k_proj, attn + ".k_proj"},
                                     {&layer.v_proj, attn + ".v_proj"}});
  const auto q = rotate(heads(projected[0]), layer.q_norm);
  const auto k = rotate(heads(projected[1]), layer.k_norm);
  const auto v = heads(projected[2]);
  const auto [by_head, rho] = attend(index, q, k, v);
  auto context = point(attn + ".context", by_head.transpose(1, 2).reshape({batch_, length_, -1}));
  if (config_.method.gate) {
    const auto gated = context.view({batch_, length_, -1, config_.head_dim}).transpose(1, 2);
    context = head_gate(x, layer.head_gate.weight, layer.head_gate.bias, gated);
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

at::Tensor ForwardPass::run_mlp(int64_t index, const at::Tensor& x) {
  const auto& layer = model_.layers()[static_cast<size_t>(index)];
  const auto name = fmt::format("model.layers.{}", index);
  const auto gate_up = linears(
      x, {{&layer.gate_proj, name + ".mlp.gate_proj"}, {&layer.up_proj, name + ".mlp.up_proj"}});
  const auto product = point(name + ".mlp.product", gated_product(gate_up[0], gate_up[1]));
  const auto out = linear(product, layer.down_proj, name + ".mlp.down_proj");
  site(name + ".mlp", out);
  return out;
}

at::Tensor ForwardPass::run_residual(at::Tensor h) {
  at::Tensor branch;
  std::string name, sum;  // of the layer before
  for (int64_t i = 0; i < config_.num_hidden_layers; ++i) {
    const auto attn = attention(i, h, branch, sum);
    if (i > 0) site(name, h);
    name = fmt::format("model.layers.{}", i);
    branch = mlp(i, h, attn.value, name + ".attn_res_sa");
    sum = name + ".attn_res_mlp";
  }
  const auto y = add_and_norm(h, branch, sum, model_.final_norm(), "model.norm");
  site(name, h);
  return y;
}

at::Tensor ForwardPass::run() {
  auto embedding = point("model.embed_tokens", at::embedding(model_.embed_tokens(), tokens_));
  if (at::autocast::is_autocast_enabled(at::kCUDA)) {
    embedding = embedding.to(at::autocast::get_autocast_dtype(at::kCUDA));
  }
  at::Tensor h;
  switch (config_.method.routing) {
    case Routing::kNone:
      return run_residual(embedding);
    case Routing::kProjected:
      h = run_projected(embedding);
      break;
    case Routing::kPseudoQuery:
    case Routing::kBlock:
      h = run_pseudo_query(embedding);
      break;
  }
  return add_and_norm(h, {}, "", model_.final_norm(), "model.norm");
}

}  // namespace oasis
