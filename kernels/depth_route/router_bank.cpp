#include "kernels/depth_route/router_bank.h"

#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/stack.h>
#include <c10/util/Exception.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <utility>

#include "kernels/linear/linear.h"

namespace oasis {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct RouterBank::State {
  int64_t routers;
  std::vector<at::Tensor> w_q, w_k;  // [A, D] each, in the products' type
  at::ScalarType grad_type;          // the weights'
  at::Tensor q;                      // [R, M, A], with gradients
  at::Tensor grad_u, grad_q;  // [group, M, D] and [group, M, A], of the group that goes backward
  std::vector<at::Tensor> y;  // [M, D] each, while needed
  std::vector<int64_t> waiting;
  variable_list gradients;  // of every w_q, then of every w_k; undefined: no contribution

  static const at::Tensor& of(const std::vector<at::Tensor>& weights, int64_t router) {
    return weights[static_cast<size_t>(router)];
  }

  bool keeps() const { return q.defined(); }

  at::Tensor grad_u_row(int64_t router) const { return grad_u.select(0, router % kRouterGroup); }
  at::Tensor grad_q_row(int64_t router) const { return grad_q.select(0, router % kRouterGroup); }

  // Router's ∂L/∂u and ∂L/∂q lie in their rows.
  void note(int64_t router) {
    const int64_t first = router / kRouterGroup * kRouterGroup;
    // A group is left incomplete where the loss does not depend on its later routers.
    if (!waiting.empty() && waiting.front() >= first + kRouterGroup) one_by_one();
    waiting.push_back(router);
    const int64_t size = std::min(kRouterGroup, routers - first);
    if (std::ssize(waiting) < size) return;
    if (const auto values = batch(first, size); values.defined()) {
      const auto dq = grad_q.narrow(0, 0, size).transpose(1, 2);
      set(first, product(dq, values));
      set(routers + first,
          product(q.narrow(0, first, size).transpose(1, 2), grad_u.narrow(0, 0, size)));
      for (int64_t i = first; i < first + size; ++i) y[static_cast<size_t>(i)].reset();
      waiting.clear();
    }
    one_by_one();
  }

  // What batched products did not take.
  void one_by_one() {
    for (const auto router : std::exchange(waiting, {})) {
      auto& value = y[static_cast<size_t>(router)];
      gradients[static_cast<size_t>(router)] =
          weight_gradient(grad_q_row(router), value, grad_type);
      gradients[static_cast<size_t>(routers + router)] =
          weight_gradient(q.select(0, router), grad_u_row(router), grad_type);
      value.reset();
    }
  }

 private:
  at::Tensor product(const at::Tensor& a, const at::Tensor& b) const {
    if (grad_type == at::kFloat && b.scalar_type() != at::kFloat) return at::bmm(a, b, at::kFloat);
    return at::bmm(a, b).to(grad_type);
  }

  void set(int64_t first, const at::Tensor& batched) {
    for (int64_t i = 0; i < batched.size(0); ++i) {
      gradients[static_cast<size_t>(first + i)] = batched.select(0, i);
    }
  }

  // The group's values as [size, M, D]; undefined unless they lie at equal distances.
  at::Tensor batch(int64_t first, int64_t size) const {
    const auto& start = y[static_cast<size_t>(first)];
    const auto offset = [&](int64_t i) { return y[static_cast<size_t>(i)].storage_offset(); };
    const int64_t step = size > 1 ? offset(first + 1) - offset(first) : start.numel();
    for (int64_t i = first; i < first + size; ++i) {
      const auto& value = y[static_cast<size_t>(i)];
      if (!value.is_contiguous() || !value.is_alias_of(start) || step < start.numel() ||
          offset(i) != offset(first) + (i - first) * step) {
        return {};
      }
    }
    return start.as_strided({size, start.size(0), start.size(1)}, {step, start.stride(0), 1});
  }
};

namespace {

using State = RouterBank::State;
using StatePtr = std::shared_ptr<State>;

struct StateHolder : torch::CustomClassHolder {
  explicit StateHolder(StatePtr s) : state(std::move(s)) {}
  StatePtr state;
};

void hold_state(AutogradContext* ctx, const StatePtr& state) {
  ctx->saved_data["state"] = c10::IValue::make_capsule(c10::make_intrusive<StateHolder>(state));
}

StatePtr held_state(AutogradContext* ctx) {
  return c10::static_intrusive_pointer_cast<StateHolder>(ctx->saved_data["state"].toCapsule())
      ->state;
}

// The weights of all routers, to a link that every direction hangs on.
class WeightsFunction : public torch::autograd::Function<WeightsFunction> {
 public:
  static at::Tensor forward(AutogradContext* ctx, at::TensorList weights, const StatePtr& state) {
    ctx->set_materialize_grads(false);
    hold_state(ctx, state);
    return at::empty({0}, weights.front().options());
  }

  static variable_list backward(AutogradContext* ctx, const variable_list&) {
    const auto state = held_state(ctx);
    state->one_by_one();
    auto gradients = std::move(state->gradients);
    gradients.emplace_back();
    return gradients;
  }
};

class DirectionFunction : public torch::autograd::Function<DirectionFunction> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& link, const at::Tensor& y_input,
                            const StatePtr& state, int64_t router) {
    (void)link;
    ctx->set_materialize_grads(false);
    hold_state(ctx, state);
    ctx->saved_data["router"] = router;
    ctx->saved_data["type"] = y_input.scalar_type();
    const auto w_q = state->of(state->w_q, router), w_k = state->of(state->w_k, router);
    const auto y = y_input.to(w_q.scalar_type());
    if (!state->keeps()) return at::mm(at::mm(y, w_q.t()), w_k);
    state->y[static_cast<size_t>(router)] = y.variable_data();
    auto q = state->q.select(0, router);
    at::mm_out(q, y, w_q.t());
    return at::mm(q, w_k);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    if (!grads[0].defined()) return variable_list(4);
    const auto state = held_state(ctx);
    const int64_t router = ctx->saved_data["router"].toInt();
    auto grad_u = state->grad_u_row(router), grad_q = state->grad_q_row(router);
    if (grads[0].const_data_ptr() != grad_u.const_data_ptr()) grad_u.copy_(grads[0]);
    at::mm_out(grad_q, grad_u, state->of(state->w_k, router).t());
    variable_list result(4);
    if (ctx->needs_input_grad(1)) {
      result[1] =
          at::mm(grad_q, state->of(state->w_q, router)).to(ctx->saved_data["type"].toScalarType());
    }
    if (ctx->needs_input_grad(0)) state->note(router);
    return result;
  }
};

}  // namespace

RouterBank::RouterBank(const std::vector<at::Tensor>& w_q, const std::vector<at::Tensor>& w_k,
                       int64_t tokens, const at::TensorOptions& options)
    : w_q_(w_q), w_k_(w_k) {
  TORCH_CHECK(!w_q.empty() && w_q.size() == w_k.size(),
              "oasis::RouterBank: needs as many w_q as w_k, at least one; got ", w_q.size(),
              " and ", w_k.size());
  if (!options.device().is_cuda()) return;
  const auto type = at::autocast::is_autocast_enabled(at::kCUDA)
                        ? at::autocast::get_autocast_dtype(at::kCUDA)
                        : c10::typeMetaToScalarType(options.dtype());
  state_ = std::make_shared<State>();
  auto& s = *state_;
  s.routers = std::ssize(w_q);
  s.grad_type = w_q.front().scalar_type();
  const bool gradients = at::GradMode::is_enabled();
  // All weights in two launches.
  const auto converted = [type](const std::vector<at::Tensor>& weights) {
    const at::NoGradGuard no_grad;
    return weights.front().scalar_type() == type ? weights : at::stack(weights).to(type).unbind();
  };
  s.w_q = converted(w_q);
  s.w_k = converted(w_k);
  s.y.resize(w_q.size());
  s.gradients.resize(2 * w_q.size());
  std::vector<at::Tensor> weights = w_q;
  weights.insert(weights.end(), w_k.begin(), w_k.end());
  if (gradients) {
    const int64_t A = w_q.front().size(0), D = w_q.front().size(1);
    const auto of_type = options.dtype(type).requires_grad(false);
    s.q = at::empty({s.routers, tokens, A}, of_type);
    s.grad_u = at::empty({std::min(kRouterGroup, s.routers), tokens, D}, of_type);
    s.grad_q = at::empty({std::min(kRouterGroup, s.routers), tokens, A}, of_type);
  }
  link_ = WeightsFunction::apply(at::TensorList(weights), state_);
}

at::Tensor RouterBank::direction(int64_t router, const at::Tensor& y) {
  const auto i = static_cast<size_t>(router);
  TORCH_CHECK(router >= 0 && i < w_q_.size() && y.dim() == 2 && y.size(1) == w_q_[i].size(1),
              "oasis::RouterBank: router ", router, " of ", w_q_.size(), " got y ", y.sizes());
  if (state_ == nullptr) return oasis::linear(oasis::linear(y, w_q_[i]), w_k_[i].t());
  return DirectionFunction::apply(link_, y, state_, router);
}

at::Tensor RouterBank::gradient_of_direction(int64_t router) const {
  return state_ != nullptr && state_->keeps() ? state_->grad_u_row(router) : at::Tensor();
}

}  // namespace oasis
