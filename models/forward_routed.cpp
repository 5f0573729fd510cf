// The routed forms of the forward pass: projected, pseudo-query and block (DESIGN.md, section 2).
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softplus.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include <cmath>

#include "kernels/depth_route/depth_route.h"
#include "kernels/linear/linear.h"
#include "models/forward_pass.h"

namespace oasis {

// β = min(softplus(β_raw), kLargestBeta)
constexpr double kLargestBeta = 10.0;

void ForwardPass::append(int64_t slot, const at::Tensor& value, const SourceLayers& layers,
                         const at::Tensor& psi) {
  const auto index = static_cast<size_t>(slot);
  values_[index] = history_->append(slot, value.reshape({batch_ * length_, -1}), psi);
  layers_[index] = layers;
  psi_[index] = psi;
}

void ForwardPass::append_sum(int64_t slot, const at::Tensor& a, const at::Tensor& b,
                             const SourceLayers& layers, const at::Tensor& psi) {
  const auto index = static_cast<size_t>(slot);
  const int64_t rows = batch_ * length_;
  values_[index] = history_->append_sum(slot, a.reshape({rows, -1}), b.reshape({rows, -1}), psi);
  layers_[index] = layers;
  psi_[index] = psi;
}

bool ForwardPass::adds_inside_product(const Linear& last) const {
  return config_.method.routing == Routing::kProjected && tokens_.is_cuda() &&
         at::GradMode::is_enabled() && observer_ == nullptr && cache_ == nullptr && !recomputes() &&
         !last.bias.defined();
}

void ForwardPass::append_residual(int64_t slot, const at::Tensor& h, const at::Tensor& output,
                                  const Linear& last, int64_t layer, const at::Tensor& psi) {
  const auto rows = output.reshape({batch_ * length_, -1});
  if (!adds_inside_product(last)) return append_sum(slot, h, rows, {layer}, psi);
  const auto index = static_cast<size_t>(slot);
  values_[index] =
      history_->append_product(slot, h.reshape({batch_ * length_, -1}), rows, last.weight, psi);
  layers_[index] = {layer};
  psi_[index] = psi;
}

void ForwardPass::share_null(int64_t slot, int64_t with) {
  history_->share_null(slot, with);
  psi_[static_cast<size_t>(slot)] = psi_[static_cast<size_t>(with)];
}

void ForwardPass::prepare_routers() {
  const auto& method = config_.method;
  std::vector<const Router*> routers;
  for (const auto& layer : model_.layers()) {
    routers.insert(routers.end(), {&layer.router_sa, &layer.router_mlp});
  }
  if (method.routing != Routing::kProjected) routers.push_back(&model_.final_router());
  const auto stacked = [&](at::Tensor Router::*parameter) {
    std::vector<at::Tensor> rows;
    for (const auto* router : routers) rows.push_back(router->*parameter);
    return at::stack(rows);
  };
  std::vector<at::Tensor> betas(routers.size()), directions(routers.size());
  if (method.coupling.kind == Coupling::Kind::kLearned) {
    const auto raw = stacked(&Router::beta_raw);
    betas = at::clamp(at::softplus(raw), std::nullopt, kLargestBeta).unbind();
  } else if (method.coupling.kind == Coupling::Kind::kFixed) {
    const auto fixed = at::full({1}, method.coupling.beta, model_.final_norm().options());
    betas.assign(routers.size(), fixed);
  }
  if (method.routing == Routing::kProjected) {
    std::vector<at::Tensor> w_q, w_k;
    for (const auto* router : routers) {
      w_q.push_back(router->q_proj);
      w_k.push_back(router->k_proj);
    }
    bank_ = std::make_unique<RouterBank>(w_q, w_k, batch_ * length_, history_->value(0).options());
  } else {
    directions = (stacked(&Router::query) * stacked(&Router::key_norm)).unbind();
  }
  for (size_t i = 0; i < routers.size(); ++i) {
    router_terms_[routers[i]] = {directions[i], betas[i], static_cast<int64_t>(i)};
  }
}

at::Tensor ForwardPass::nulls(const std::vector<int64_t>& sources) {
  if (config_.method.coupling.kind == Coupling::Kind::kNone) return {};
  at::Tensor zero;
  std::vector<at::Tensor> rows;
  for (const auto slot : sources) {
    const auto& psi = psi_[static_cast<size_t>(slot)];
    if (psi.defined()) {
      rows.push_back(psi);
    } else {
      if (!zero.defined()) zero = at::zeros({batch_ * length_}, values_.front().options());
      rows.push_back(zero);
    }
  }
  return at::stack(rows);
}

DepthLine ForwardPass::recency(size_t sources) const {
  const auto newest = static_cast<double>(sources - 1);
  if (config_.method.recency == Recency::kAbsolute) return {1 - newest, 1};
  return {0, newest > 0 ? 1 / newest : 0};
}

at::Tensor ForwardPass::route(const Router& router, const std::string& name,
                              const std::string& label, int64_t slot,
                              const std::vector<int64_t>& sources) {
  const auto& method = config_.method;
  at::Tensor routed, weights;
  if (explicit_points_ && method.routing == Routing::kProjected) {
    routed = route_with_points(router, name, slot, sources, weights);
  } else {
    DepthRouteInputs inputs;
    DepthRouteOptions options;
    options.normalizer = *method.depth;
    if (method.routing == Routing::kProjected) {
      const auto& newest = values_[static_cast<size_t>(sources.back())];
      const int64_t index = router_terms_[&router].index;
      inputs.direction = bank_->direction(index, newest);
      inputs.grad_direction = bank_->gradient_of_direction(index);
      inputs.logit_bias = router.recency_bias;
      options.bias_line = recency(sources.size());
      options.scale = 1.0 / std::sqrt(static_cast<double>(method.router_size));
    } else {
      inputs.direction = router_terms_[&router].direction.unsqueeze(0);
      options.normalize_keys = true;
      options.eps = config_.rms_norm_eps;
    }
    inputs.beta = router_terms_[&router].beta;
    std::tie(routed, weights) = slot >= 0 ? history_->route_append(slot, sources, inputs, options)
                                          : history_->route(sources, inputs, options);
  }
  if (observer_ != nullptr) {
    std::vector<SourceLayers> layers;
    for (const auto s : sources) layers.push_back(layers_[static_cast<size_t>(s)]);
    observer_->depth_weights(label, sequences(weights), layers);
  }
  return routed;
}

// The quantized path: keys are materialised, because they are quantized (one quantizer over the
// stacked keys).
at::Tensor ForwardPass::route_with_points(const Router& router, const std::string& name,
                                          int64_t slot, const std::vector<int64_t>& sources,
                                          at::Tensor& weights) {
  std::vector<at::Tensor> values, keys;
  for (const auto s : sources) {
    values.push_back(values_[static_cast<size_t>(s)]);
    keys.push_back(oasis::linear(values.back(), router.k_proj));
  }
  const auto q = point(name + ".q_proj", oasis::linear(values.back(), router.q_proj));
  const auto k = point(name + ".k_proj", at::stack(keys, 1));  // [M, n, A]
  auto logits = at::matmul(k, q.unsqueeze(-1)).squeeze(-1) /
                std::sqrt(static_cast<double>(config_.method.router_size));
  const auto line = recency(sources.size());
  const auto steps =
      at::arange(logits.size(-1), router.recency_bias.options().requires_grad(false));
  logits = logits + router.recency_bias * (steps * line.step + line.first);
  if (const auto psi = nulls(sources); psi.defined()) {
    const auto by_row = psi.t();
    const auto& beta = router_terms_[&router].beta;
    logits = logits - beta * (by_row - by_row.mean(-1, /*keepdim=*/true));
  }
  weights = std::get<0>(
      normalize(at::clamp(logits, -kDepthLogitClamp, kDepthLogitClamp), *config_.method.depth));
  auto routed = values[0] * weights.select(1, 0).unsqueeze(1);
  for (size_t i = 1; i < values.size(); ++i) {
    routed = routed + values[i] * weights.select(1, static_cast<int64_t>(i)).unsqueeze(1);
  }
  return slot >= 0 ? history_->append(slot, routed) : routed;
}

at::Tensor ForwardPass::run_projected(const at::Tensor& embedding) {
  const int64_t L = config_.num_hidden_layers;
  // With gradients every c and e stays in a slot of its own, side by side for the router bank;
  // without, two slots serve all layers.
  const bool keep = at::GradMode::is_enabled();
  const auto state_slot = [&](int64_t i) { return keep ? 2 * L + i : i; };
  const auto c_slot = [&](int64_t i) { return keep ? 2 * i : L + 1; };
  const auto e_slot = [&](int64_t i) { return keep ? 2 * i + 1 : L + 2; };
  const int64_t slots = keep ? 3 * L + 1 : L + 3;
  history_ = std::make_unique<DepthHistory>(slots, batch_ * length_, config_.hidden_size,
                                            embedding.options().requires_grad(false));
  values_.assign(static_cast<size_t>(slots), {});
  psi_.assign(static_cast<size_t>(slots), {});
  layers_.assign(static_cast<size_t>(slots), {});

  prepare_routers();
  append(state_slot(0), embedding, {}, {});
  std::vector<int64_t> states = {state_slot(0)};
  at::Tensor h = values_[static_cast<size_t>(state_slot(0))];
  for (int64_t i = 0; i < L; ++i) {
    const auto name = fmt::format("model.layers.{}", i);
    const auto& layer = model_.layers()[static_cast<size_t>(i)];
    const auto attn = attention(i, h);
    append_residual(c_slot(i), h, attn.value, layer.o_proj, i, attn.psi);
    auto sources = states;
    sources.push_back(c_slot(i));
    auto after_attention =
        point(name + ".attn_res_sa",
              route(layer.router_sa, name + ".attn_res_sa", fmt::format("{}.sa", i), -1, sources));
    const auto mlp_output = mlp(i, after_attention);
    append_residual(e_slot(i), after_attention, mlp_output, layer.down_proj, i, {});
    share_null(e_slot(i), c_slot(i));
    sources.push_back(e_slot(i));
    const int64_t next = state_slot(i + 1);
    const auto state =
        route(layer.router_mlp, name + ".attn_res_mlp", fmt::format("{}.mlp", i), next, sources);
    values_[static_cast<size_t>(next)] = state;
    share_null(next, c_slot(i));
    layers_[static_cast<size_t>(next)] = {i};
    states.push_back(next);
    // The history keeps the state from before its quantizer; what follows reads the quantized one.
    h = point(name + ".attn_res_mlp", state);
    site(name, h);
  }
  return h;
}

// Pseudo-query routing is block routing with runs of one output.
at::Tensor ForwardPass::run_pseudo_query(const at::Tensor& embedding) {
  const int64_t L = config_.num_hidden_layers;
  const int64_t outputs = 2 * L;
  const int64_t run =
      config_.method.routing == Routing::kBlock ? outputs / config_.method.block_count : 1;
  const int64_t slots = outputs + 1;  // the embedding, then the running sum after each output
  history_ = std::make_unique<DepthHistory>(slots, batch_ * length_, config_.hidden_size,
                                            embedding.options().requires_grad(false));
  values_.assign(static_cast<size_t>(slots), {});
  psi_.assign(static_cast<size_t>(slots), {});
  layers_.assign(static_cast<size_t>(slots), {});

  prepare_routers();
  append(0, embedding, {}, {});
  std::vector<int64_t> complete = {0};
  at::Tensor psi_sum;
  SourceLayers in_run;  // the layers of the outputs in the run in progress
  int64_t written = 0;
  const auto sources = [&] {
    auto list = complete;
    if (!in_run.empty()) list.push_back(written);
    return list;
  };
  const auto add_output = [&](const at::Tensor& value, int64_t layer, const at::Tensor& psi) {
    ++written;
    in_run.push_back(layer);
    const bool first = in_run.size() == 1;
    if (psi.defined()) psi_sum = first ? psi : psi_sum + psi;
    const auto mean = psi.defined() && !first ? psi_sum / static_cast<double>(in_run.size()) : psi;
    if (first) {
      append(written, value, in_run, mean);
    } else {
      append_sum(written, values_[static_cast<size_t>(written - 1)], value, in_run, mean);
    }
    if (std::ssize(in_run) == run) {
      complete.push_back(written);
      in_run.clear();
    }
  };
  for (int64_t i = 0; i < L; ++i) {
    const auto name = fmt::format("model.layers.{}", i);
    const auto& layer = model_.layers()[static_cast<size_t>(i)];
    auto before_attention = point(
        name + ".attn_res_sa",
        route(layer.router_sa, name + ".attn_res_sa", fmt::format("{}.sa", i), -1, sources()));
    const auto attn = attention(i, before_attention);
    add_output(attn.value, i, attn.psi);
    auto before_mlp = point(name + ".attn_res_mlp", route(layer.router_mlp, name + ".attn_res_mlp",
                                                          fmt::format("{}.mlp", i), -1, sources()));
    site(name, before_mlp);
    add_output(mlp(i, before_mlp), i, attn.psi);
  }
  return route(model_.final_router(), "model.final_res", "final", -1, sources());
}

}  // namespace oasis
