#include "kernels/depth_route/depth_history.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/add.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <utility>

#include "kernels/depth_route/depth_route_autograd.h"

namespace oasis {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct DepthHistory::State {
  std::vector<at::Tensor> slots;  // one tensor per slot, aliasing one buffer [slots, M, D]
  std::vector<std::vector<DepthReading>> readings;  // per slot, of the backward pass so far

  // Aliases with version counters of their own, so that writing one slot does not invalidate what
  // autograd saved of another.
  static std::vector<at::Tensor> aliases(const at::Tensor& buffer) {
    std::vector<at::Tensor> result;
    for (int64_t i = 0; i < buffer.size(0); ++i) {
      result.push_back(buffer.select(0, i).variable_data());
    }
    return result;
  }

  std::vector<at::Tensor> gather(const std::vector<int64_t>& indices) const {
    std::vector<at::Tensor> result;
    for (const auto i : indices) result.push_back(slots[i]);
    return result;
  }

  // The gradient of a slot's value: what its readers left for it, and what arrives by the ordinary
  // path. Undefined where there is neither. The notes are dropped.
  at::Tensor take_gradient(int64_t slot, const at::Tensor& direct) {
    const auto noted = std::exchange(readings[slot], {});
    return noted.empty() ? direct : depth_gather_gradient(slots[slot], noted, direct);
  }
};

namespace {

using StatePtr = std::shared_ptr<DepthHistory::State>;

// What a node keeps of the history: a capsule, since saved_data holds IValues only.
struct StateHolder : torch::CustomClassHolder {
  explicit StateHolder(StatePtr s) : state(std::move(s)) {}
  StatePtr state;
};

StatePtr held_state(AutogradContext* ctx) {
  return c10::static_intrusive_pointer_cast<StateHolder>(ctx->saved_data["state"].toCapsule())
      ->state;
}

void hold_state(AutogradContext* ctx, const StatePtr& state) {
  ctx->saved_data["state"] = c10::IValue::make_capsule(c10::make_intrusive<StateHolder>(state));
}

at::Tensor next_link() {
  return at::zeros({}, at::TensorOptions(at::kFloat));
}

// value = a (+ b), written into a slot. Returns (value, link).
class AppendFunction : public torch::autograd::Function<AppendFunction> {
 public:
  static variable_list forward(AutogradContext* ctx, const at::Tensor& chain, const at::Tensor& a,
                               const std::optional<at::Tensor>& b, const StatePtr& state,
                               int64_t slot) {
    (void)chain;
    ctx->set_materialize_grads(false);
    hold_state(ctx, state);
    ctx->saved_data["slot"] = slot;
    ctx->saved_data["has_b"] = b.has_value();
    ctx->saved_data["type_a"] = static_cast<int64_t>(a.scalar_type());
    ctx->saved_data["type_b"] = static_cast<int64_t>((b ? *b : a).scalar_type());
    auto value = state->slots[slot].variable_data();
    if (b) {
      at::add_out(value, a, *b);
    } else {
      value.copy_(a);
    }
    state->slots[slot] = value.variable_data();
    return {value, next_link()};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto total = held_state(ctx)->take_gradient(ctx->saved_data["slot"].toInt(), grads[0]);
    const auto as = [&](const char* key) {
      const auto type = static_cast<at::ScalarType>(ctx->saved_data[key].toInt());
      return total.defined() ? total.to(type) : total;
    };
    const bool has_b = ctx->saved_data["has_b"].toBool();
    return {at::Tensor(), as("type_a"), has_b ? as("type_b") : at::Tensor(), at::Tensor(),
            at::Tensor()};
  }
};

// (routed, weights, link); the link changes only when the result is written into a slot.
class RouteFunction : public torch::autograd::Function<RouteFunction> {
 public:
  static variable_list forward(AutogradContext* ctx, const at::Tensor& chain,
                               const at::Tensor& direction,
                               const std::optional<at::Tensor>& logit_bias,
                               const std::optional<at::Tensor>& nulls,
                               const std::optional<at::Tensor>& beta, const StatePtr& state,
                               const std::vector<int64_t>& indices, int64_t slot,
                               const DepthRouteOptions& options) {
    (void)chain;
    ctx->set_materialize_grads(false);
    const auto inputs = make_inputs(direction, logit_bias, nulls, beta);
    at::Tensor target = slot >= 0 ? state->slots[slot].variable_data() : at::Tensor();
    const auto out = depth_route_forward(state->gather(indices), inputs, options, target);
    if (slot >= 0) state->slots[slot] = out.routed.variable_data();
    ctx->save_for_backward(tensors_to_save(inputs, out));
    hold_state(ctx, state);
    ctx->saved_data["indices"] = indices;
    ctx->saved_data["slot"] = slot;
    save_options(ctx, options);
    return {out.routed, out.weights, next_link()};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const auto state = held_state(ctx);
    const auto indices = ctx->saved_data["indices"].toIntVector();
    const int64_t slot = ctx->saved_data["slot"].toInt();
    const auto options = saved_options(ctx);
    const auto forward = saved_forward(saved);
    auto grad_routed = slot >= 0 ? state->take_gradient(slot, grads[0]) : grads[0];
    if (!grad_routed.defined() && !grads[1].defined()) return variable_list(9);
    if (grad_routed.defined()) grad_routed = grad_routed.contiguous();
    const auto inputs = saved_inputs(saved);
    const auto g = depth_route_backward(state->gather(indices), inputs, options, forward,
                                        grad_routed, grads[1], {});
    for (size_t k = 0; k < indices.size(); ++k) {
      state->readings[indices[k]].push_back({grad_routed, inputs.direction, forward.weights,
                                             g.towards_u, g.towards_y, static_cast<int64_t>(k)});
    }
    return {at::Tensor(), g.direction,  g.logit_bias, g.nulls,     g.beta,
            at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

DepthHistory::DepthHistory(int64_t slots, int64_t tokens, int64_t hidden_size,
                           const at::TensorOptions& options)
    : state_(std::make_shared<State>()), chain_(next_link()) {
  state_->slots = State::aliases(at::empty({slots, tokens, hidden_size}, options));
  state_->readings.resize(static_cast<size_t>(slots));
}

at::Tensor DepthHistory::append(int64_t slot, const at::Tensor& value) {
  const auto out = AppendFunction::apply(chain_, value, std::nullopt, state_, slot);
  chain_ = out[1];
  return out[0];
}

at::Tensor DepthHistory::append_sum(int64_t slot, const at::Tensor& a, const at::Tensor& b) {
  const auto out = AppendFunction::apply(chain_, a, std::optional(b), state_, slot);
  chain_ = out[1];
  return out[0];
}

std::tuple<at::Tensor, at::Tensor> DepthHistory::route(const std::vector<int64_t>& slots,
                                                       const DepthRouteInputs& inputs,
                                                       const DepthRouteOptions& options) {
  return route_append(-1, slots, inputs, options);
}

std::tuple<at::Tensor, at::Tensor> DepthHistory::route_append(int64_t slot,
                                                              const std::vector<int64_t>& slots,
                                                              const DepthRouteInputs& inputs,
                                                              const DepthRouteOptions& options) {
  const auto out = RouteFunction::apply(chain_, inputs.direction, as_optional(inputs.logit_bias),
                                        as_optional(inputs.nulls), as_optional(inputs.beta), state_,
                                        slots, slot, options);
  if (slot >= 0) chain_ = out[2];
  return {out[0], out[1]};
}

at::Tensor DepthHistory::value(int64_t slot) const {
  return state_->slots[slot];
}

}  // namespace oasis
