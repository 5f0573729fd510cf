#include "kernels/depth_route/depth_history.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/add.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros.h>

#include <utility>

#include "kernels/depth_route/depth_route_autograd.h"
#include "kernels/linear/add_product.h"
#include "kernels/linear/linear.h"

namespace oasis {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct DepthHistory::State {
  struct Slot : DepthSource {
    at::Tensor null;                         // [M], undefined: zero
    int64_t null_slot = -1;                  // the slot that it was given to, for its gradient
    std::vector<at::Tensor> null_gradients;  // [M] each, one per reading
  };

  std::vector<Slot> slots;  // their values alias one buffer [slots, M, D]
  at::Tensor no_null;       // [M] zeros
  int64_t block_size;       // routers whose readings are added up together, 0: no limit
  int64_t unblocked_routers = 0;

  // Aliases with version counters of their own, so that writing one slot does not invalidate what
  // autograd saved of another.
  explicit State(const at::Tensor& buffer) : block_size(depth_block_size(buffer.select(0, 0))) {
    for (int64_t i = 0; i < buffer.size(0); ++i) {
      slots.push_back({{buffer.select(0, i).variable_data(), {}, {}}, {}, -1, {}});
    }
  }

  void set_null(int64_t slot, const std::optional<at::Tensor>& null) {
    slots[slot].null_slot = null ? slot : -1;
    slots[slot].null = null ? null->detach() : at::Tensor();
  }

  // [n, M]
  at::Tensor stack_nulls(const std::vector<int64_t>& indices) {
    std::vector<at::Tensor> rows;
    for (const auto i : indices) {
      rows.push_back(slots[i].null.defined() ? slots[i].null : zero_null());
    }
    return at::stack(rows);
  }

  const at::Tensor& zero_null() {
    const auto& value = slots.front().value;
    const auto type = value.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    if (!no_null.defined()) no_null = at::zeros({value.size(0)}, value.options().dtype(type));
    return no_null;
  }

  void note_null_gradients(const std::vector<int64_t>& indices, const at::Tensor& gradients) {
    for (size_t k = 0; k < indices.size(); ++k) {
      const auto from = slots[indices[k]].null_slot;
      if (from < 0) continue;
      slots[from].null_gradients.push_back(gradients.select(0, static_cast<int64_t>(k)));
    }
  }

  at::Tensor take_null_gradient(int64_t slot) {
    const auto noted = std::exchange(slots[slot].null_gradients, {});
    return noted.empty() ? at::Tensor() : at::stack(noted).sum(0);
  }

  std::vector<at::Tensor> gather(const std::vector<int64_t>& indices) const {
    std::vector<at::Tensor> result;
    for (const auto i : indices) result.push_back(slots[i].value);
    return result;
  }

  // What a router leaves for its sources. Every block_size routers it is added up, so that their
  // gradients and directions need not be read (and kept) for every source anew.
  void note(const std::vector<int64_t>& indices, DepthReading reading) {
    for (size_t k = 0; k < indices.size(); ++k) {
      reading.source = static_cast<int64_t>(k);
      slots[indices[k]].readings.push_back(reading);
    }
    if (++unblocked_routers != block_size) return;
    unblocked_routers = 0;
    std::vector<DepthSource*> read;
    for (auto& slot : slots) {
      if (!slot.readings.empty()) read.push_back(&slot);
    }
    depth_gather_block(read);
  }

  // The gradient of a slot's value: what its readers left for it, and what arrives by the ordinary
  // path. Undefined where there is neither. The notes are dropped.
  at::Tensor take_gradient(int64_t slot, const at::Tensor& direct) {
    DepthSource& source = slots[slot];
    const auto noted = std::exchange(source, {source.value, {}, {}});
    if (noted.readings.empty() && !noted.partial.defined()) return direct;
    return depth_gather_gradient(noted, direct);
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

// value = a (+ b), written into a slot with its branch null. Returns (value, link).
class AppendFunction : public torch::autograd::Function<AppendFunction> {
 public:
  static variable_list forward(AutogradContext* ctx, const at::Tensor& chain, const at::Tensor& a,
                               const std::optional<at::Tensor>& b,
                               const std::optional<at::Tensor>& null, const StatePtr& state,
                               int64_t slot) {
    (void)chain;
    ctx->set_materialize_grads(false);
    hold_state(ctx, state);
    ctx->saved_data["slot"] = slot;
    ctx->saved_data["has_b"] = b.has_value();
    ctx->saved_data["type_a"] = static_cast<int64_t>(a.scalar_type());
    ctx->saved_data["type_b"] = static_cast<int64_t>((b ? *b : a).scalar_type());
    auto value = state->slots[slot].value.variable_data();
    if (b) {
      at::add_out(value, a, *b);
    } else {
      value.copy_(a);
    }
    state->slots[slot].value = value.variable_data();
    state->set_null(slot, null);
    return {value, next_link()};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto state = held_state(ctx);
    const int64_t slot = ctx->saved_data["slot"].toInt();
    const auto total = state->take_gradient(slot, grads[0]);
    const auto as = [&](const char* key) {
      const auto type = static_cast<at::ScalarType>(ctx->saved_data[key].toInt());
      return total.defined() ? total.to(type) : total;
    };
    const bool has_b = ctx->saved_data["has_b"].toBool();
    return {at::Tensor(),
            as("type_a"),
            has_b ? as("type_b") : at::Tensor(),
            state->take_null_gradient(slot),
            at::Tensor(),
            at::Tensor()};
  }
};

// value = a + x·Wᵀ, written into a slot with its branch null. Returns (value, link).
class AppendProductFunction : public torch::autograd::Function<AppendProductFunction> {
 public:
  static variable_list forward(AutogradContext* ctx, const at::Tensor& chain, const at::Tensor& a,
                               const at::Tensor& x, const at::Tensor& weight,
                               const std::optional<at::Tensor>& null, const StatePtr& state,
                               int64_t slot) {
    (void)chain;
    ctx->set_materialize_grads(false);
    hold_state(ctx, state);
    ctx->saved_data["slot"] = slot;
    ctx->saved_data["weight_type"] = weight.scalar_type();
    auto value = state->slots[slot].value.variable_data();
    const auto cast = weight.to(x.scalar_type());
    add_product(value, a, x, cast);
    ctx->save_for_backward({x, cast});
    state->slots[slot].value = value.variable_data();
    state->set_null(slot, null);
    return {value, next_link()};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto state = held_state(ctx);
    const int64_t slot = ctx->saved_data["slot"].toInt();
    const auto saved = ctx->get_saved_variables();
    const auto &x = saved[0], &weight = saved[1];
    variable_list result(7);
    result[4] = state->take_null_gradient(slot);
    const auto total = state->take_gradient(slot, grads[0]);
    if (!total.defined()) return result;
    result[1] = total;
    if (ctx->needs_input_grad(2)) result[2] = matrix_product(total, weight);
    if (ctx->needs_input_grad(3)) {
      result[3] = weight_gradient(total, x, ctx->saved_data["weight_type"].toScalarType());
    }
    return result;
  }
};

// (routed, weights, link); the link changes only when the result is written into a slot.
class RouteFunction : public torch::autograd::Function<RouteFunction> {
 public:
  static variable_list forward(AutogradContext* ctx, const at::Tensor& chain,
                               const at::Tensor& direction,
                               const std::optional<at::Tensor>& logit_bias,
                               const std::optional<at::Tensor>& beta, const StatePtr& state,
                               const std::optional<at::Tensor>& grad_direction,
                               const std::vector<int64_t>& indices, int64_t slot,
                               const DepthRouteOptions& options) {
    (void)chain;
    ctx->set_materialize_grads(false);
    auto inputs = make_inputs(direction, logit_bias, std::nullopt, beta);
    if (beta) inputs.nulls = state->stack_nulls(indices);
    at::Tensor target = slot >= 0 ? state->slots[slot].value.variable_data() : at::Tensor();
    const auto out = depth_route_forward(state->gather(indices), inputs, options, target);
    if (slot >= 0) state->slots[slot].value = out.routed.variable_data();
    ctx->save_for_backward(tensors_to_save(inputs, out));
    hold_state(ctx, state);
    ctx->saved_data["indices"] = indices;
    ctx->saved_data["slot"] = slot;
    ctx->saved_data["grad_direction"] = grad_direction;
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
    auto inputs = saved_inputs(saved);
    inputs.grad_direction =
        ctx->saved_data["grad_direction"].toOptional<at::Tensor>().value_or(at::Tensor());
    const auto g = depth_route_backward(state->gather(indices), inputs, options, forward,
                                        grad_routed, grads[1], {});
    state->note(indices,
                {grad_routed, inputs.direction, forward.weights, g.towards_u, g.towards_y, 0});
    if (g.nulls.defined()) state->note_null_gradients(indices, g.nulls);
    return {at::Tensor(), g.direction,  g.logit_bias, g.beta,      at::Tensor(),
            at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

DepthHistory::DepthHistory(int64_t slots, int64_t tokens, int64_t hidden_size,
                           const at::TensorOptions& options)
    : state_(std::make_shared<State>(at::empty({slots, tokens, hidden_size}, options))),
      chain_(next_link()) {}

at::Tensor DepthHistory::append(int64_t slot, const at::Tensor& value, const at::Tensor& null) {
  const auto out =
      AppendFunction::apply(chain_, value, std::nullopt, as_optional(null), state_, slot);
  chain_ = out[1];
  return out[0];
}

at::Tensor DepthHistory::append_sum(int64_t slot, const at::Tensor& a, const at::Tensor& b,
                                    const at::Tensor& null) {
  const auto out =
      AppendFunction::apply(chain_, a, std::optional(b), as_optional(null), state_, slot);
  chain_ = out[1];
  return out[0];
}

at::Tensor DepthHistory::append_product(int64_t slot, const at::Tensor& a, const at::Tensor& x,
                                        const at::Tensor& weight, const at::Tensor& null) {
  const auto out =
      AppendProductFunction::apply(chain_, a, x, weight, as_optional(null), state_, slot);
  chain_ = out[1];
  return out[0];
}

void DepthHistory::share_null(int64_t slot, int64_t with) {
  state_->slots[slot].null = state_->slots[with].null;
  state_->slots[slot].null_slot = state_->slots[with].null_slot;
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
  TORCH_CHECK(!inputs.nulls.defined(), "oasis::DepthHistory: nulls come with the slots");
  const auto out = RouteFunction::apply(chain_, inputs.direction, as_optional(inputs.logit_bias),
                                        as_optional(inputs.beta), state_,
                                        as_optional(inputs.grad_direction), slots, slot, options);
  if (slot >= 0) chain_ = out[2];
  return {out[0], out[1]};
}

at::Tensor DepthHistory::value(int64_t slot) const {
  return state_->slots[slot].value;
}

}  // namespace oasis
