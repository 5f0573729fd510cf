#include "models/forward_pass.h"

#include <ATen/TensorOperators.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/matmul.h>
#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "kernels/attention/attention.h"
#include "kernels/decode_attention/decode_attention.h"
#include "kernels/gated_mlp/gated_product.h"
#include "kernels/head_gate/head_gate.h"
#include "kernels/linear/linear.h"
#include "kernels/rms_norm/rms_norm.h"
#include "kernels/rope/rope.h"
#include "models/recompute.h"
#include "support/error.h"

namespace oasis {

ForwardPass::ForwardPass(const Decoder& model, const at::Tensor& tokens, ForwardObserver* observer,
                         const CacheUse* cache)
    : model_(model),
      config_(model.config()),
      tokens_(tokens),
      observer_(observer),
      cache_(cache),
      batch_(tokens.size(0)),
      length_(tokens.size(1)),
      context_(cache == nullptr ? length_ : cache->cache.context()),
      explicit_points_(observer != nullptr && observer->has_points()),
      rope_divisors_(
          config_.rope_scaling.divisors(config_.rope_theta, config_.rotary_dim(), context_)) {
  if (config_.sliding_window > 0 && context_ > config_.sliding_window) {
    throw bad_input(
        "sequences of {} tokens are longer than the model's sliding_window = {}; give shorter "
        "ones: attention is full here",
        context_, config_.sliding_window);
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
  // `norm`: undefined where there is none.
  const auto turned = [&](const at::Tensor& part, const at::Tensor& norm) {
    if (decodes()) {
      return rope_at(part, norm, config_.rms_norm_eps, config_.rope_theta,
                     {cache_->positions, context_}, rope_divisors_, scaling.attention_factor);
    }
    if (norm.defined()) {
      return rms_norm_rope(part, norm, config_.rms_norm_eps, config_.rope_theta, 0, rope_divisors_,
                           scaling.attention_factor);
    }
    return rope(part, config_.rope_theta, 0, rope_divisors_, scaling.attention_factor);
  };
  if (rest == 0) return turned(x, gain);
  const auto y = gain.defined() ? rms_norm(x, gain, config_.rms_norm_eps) : x;
  return at::cat({turned(y.narrow(-1, 0, rotated), {}), y.narrow(-1, rotated, rest)}, -1);
}

std::tuple<at::Tensor, at::Tensor> ForwardPass::attend(int64_t layer, const at::Tensor& q,
                                                       const at::Tensor& k, const at::Tensor& v) {
  const double scale = 1.0 / std::sqrt(static_cast<double>(config_.head_dim));
  const auto& normalizer = config_.method.token;
  const bool by_parts = explicit_points_ || (observer_ != nullptr && observer_->has_attention());
  if (cache_ == nullptr || !cache_->decodes()) {
    if (cache_ != nullptr) cache_->cache.store(layer, cache_->rows, k, v);
    if (by_parts) return attend_with_points(layer, q, k, v);
    return oasis::attention(q, k, v, normalizer, scale);
  }
  const auto [keys, values] = cache_->cache.of_layer(layer, batch_);
  if (!by_parts) {
    return decode_attention(q, k, v, keys, values, cache_->positions, normalizer, scale);
  }
  append_to_cache(k, v, keys, values, cache_->positions);
  const auto places = at::arange(context_, cache_->positions.options());
  const auto hidden = (places > cache_->positions.unsqueeze(1)).view({batch_, 1, 1, context_});
  return attend_with_points(layer, q, keys, values, hidden);
}

std::tuple<at::Tensor, at::Tensor> ForwardPass::attend_with_points(int64_t layer,
                                                                   const at::Tensor& q,
                                                                   const at::Tensor& k,
                                                                   const at::Tensor& v,
                                                                   const at::Tensor& hidden) {
  const auto name = fmt::format("model.layers.{}.self_attn", layer);
  const double scale = 1.0 / std::sqrt(static_cast<double>(config_.head_dim));
  const int64_t group = config_.num_attention_heads / config_.num_key_value_heads;
  const auto keys = group == 1 ? k : k.repeat_interleave(group, 1);
  const auto values = group == 1 ? v : v.repeat_interleave(group, 1);
  auto products = at::matmul(q, keys.transpose(-2, -1)) * scale;
  if (observer_->hides_later_scores()) {
    products = hidden.defined() ? products.masked_fill(hidden, 0) : products.tril();
  }
  const auto scores = point(name + ".scores", products);
  const auto [probs, rho] =
      hidden.defined()
          ? normalize(scores.masked_fill(hidden, -std::numeric_limits<double>::infinity()),
                      config_.method.token)
          : attention_weights(scores, config_.method.token);
  if (observer_->has_attention()) observer_->attention(layer, probs, rho);
  return {at::matmul(point(name + ".probs", probs), values.to(probs.scalar_type())), rho};
}

ForwardPass::AttentionOutput ForwardPass::attention(int64_t index, at::Tensor& h,
                                                    const at::Tensor& branch,
                                                    const std::string& sum) {
  const auto& weight = model_.layers()[static_cast<size_t>(index)].input_layernorm;
  const auto name = fmt::format("model.layers.{}.input_layernorm", index);
  if (!recomputes()) return run_attention(index, add_and_norm(h, branch, sum, weight, name));
  if (branch.defined()) h = h + branch;
  const auto outputs = recompute(
      [index, weight, name, model = &model_, tokens = tokens_](at::Tensor x) {
        ForwardPass pass(*model, tokens, nullptr);
        const auto out = pass.run_attention(index, pass.add_and_norm(x, {}, "", weight, name));
        return out.psi.defined() ? std::vector{out.value, out.psi} : std::vector{out.value};
      },
      h);
  return {outputs[0], outputs.size() > 1 ? outputs[1] : at::Tensor()};
}

at::Tensor ForwardPass::mlp(int64_t index, at::Tensor& h, const at::Tensor& branch,
                            const std::string& sum) {
  const auto& weight = model_.layers()[static_cast<size_t>(index)].post_attention_layernorm;
  const auto name = fmt::format("model.layers.{}.post_attention_layernorm", index);
  if (!recomputes()) return run_mlp(index, add_and_norm(h, branch, sum, weight, name));
  if (branch.defined()) h = h + branch;
  return recompute(
      [index, weight, name, model = &model_, tokens = tokens_](at::Tensor x) {
        ForwardPass pass(*model, tokens, nullptr);
        return std::vector{pass.run_mlp(index, pass.add_and_norm(x, {}, "", weight, name))};
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
  out.value =
      adds_inside_product(layer.o_proj) ? context : linear(context, layer.o_proj, attn + ".o_proj");
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
  if (adds_inside_product(layer.down_proj)) return product;
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
