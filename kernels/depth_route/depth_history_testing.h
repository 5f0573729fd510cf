// Toy networks with the structure of the projected and pseudo-query forms, over a DepthHistory or
// over ordinary tensors.
#pragma once

#include <ATen/ops/matmul.h>
#include <ATen/ops/stack.h>

#include "kernels/depth_route/depth_history.h"
#include "kernels/operation_testing.h"

namespace oasis::testing_support {

// Where the values of a toy network live: in a DepthHistory, or as tensors of their own. The
// functions are the history's.
struct Store {
  virtual ~Store() = default;
  virtual at::Tensor append(int64_t slot, const at::Tensor& value, const at::Tensor& null = {}) = 0;
  virtual at::Tensor append_sum(int64_t slot, const at::Tensor& a, const at::Tensor& b,
                                const at::Tensor& null = {}) = 0;
  virtual void share_null(int64_t slot, int64_t with) = 0;
  // Slot −1: the result is not kept.
  virtual std::tuple<at::Tensor, at::Tensor> route(int64_t slot, const std::vector<int64_t>& slots,
                                                   const DepthRouteInputs& inputs,
                                                   const DepthRouteOptions& options) = 0;
};

struct InHistory : Store {
  // For values like `first` [M, D].
  InHistory(int64_t slots, const at::Tensor& first)
      : history(slots, first.size(0), first.size(1), first.options().requires_grad(false)) {}

  at::Tensor append(int64_t slot, const at::Tensor& value, const at::Tensor& null) override {
    return history.append(slot, value, null);
  }
  at::Tensor append_sum(int64_t slot, const at::Tensor& a, const at::Tensor& b,
                        const at::Tensor& null) override {
    return history.append_sum(slot, a, b, null);
  }
  void share_null(int64_t slot, int64_t with) override { history.share_null(slot, with); }
  std::tuple<at::Tensor, at::Tensor> route(int64_t slot, const std::vector<int64_t>& slots,
                                           const DepthRouteInputs& inputs,
                                           const DepthRouteOptions& options) override {
    return slot < 0 ? history.route(slots, inputs, options)
                    : history.route_append(slot, slots, inputs, options);
  }

  DepthHistory history;
};

struct AsTensors : Store {
  explicit AsTensors(int64_t slots)
      : values(static_cast<size_t>(slots)), nulls(static_cast<size_t>(slots)) {}

  at::Tensor append(int64_t slot, const at::Tensor& value, const at::Tensor& null) override {
    nulls[static_cast<size_t>(slot)] = null;
    return values[static_cast<size_t>(slot)] = value;
  }
  at::Tensor append_sum(int64_t slot, const at::Tensor& a, const at::Tensor& b,
                        const at::Tensor& null) override {
    return append(slot, a + b, null);
  }
  void share_null(int64_t slot, int64_t with) override {
    nulls[static_cast<size_t>(slot)] = nulls[static_cast<size_t>(with)];
  }
  std::tuple<at::Tensor, at::Tensor> route(int64_t slot, const std::vector<int64_t>& slots,
                                           const DepthRouteInputs& given,
                                           const DepthRouteOptions& options) override {
    Tensors sources, rows;
    for (const auto i : slots) {
      sources.push_back(values[static_cast<size_t>(i)]);
      const auto& null = nulls[static_cast<size_t>(i)];
      rows.push_back(null.defined() ? null : at::zeros_like(sources.back().select(1, 0)));
    }
    auto inputs = given;
    if (inputs.beta.defined()) inputs.nulls = at::stack(rows);
    const auto out = routed(sources, inputs, options);
    if (slot >= 0) append(slot, std::get<0>(out), {});
    return out;
  }
  virtual std::tuple<at::Tensor, at::Tensor> routed(const Tensors& sources,
                                                    const DepthRouteInputs& inputs,
                                                    const DepthRouteOptions& options) {
    return depth_route(sources, inputs, options);
  }

  Tensors values, nulls;
};

// Parameters: the embedding [M, D], then per layer two sublayer maps [D, D], two router maps
// [D, D], a recency bias [1], β [1].
inline constexpr int64_t kPerLayer = 6;

inline Tensors parameters(uint64_t layers, int64_t tokens, int64_t hidden_size) {
  const double spread = 1.0 / std::sqrt(static_cast<double>(hidden_size));
  Tensors list = {draw({tokens, hidden_size}, 1, 1)};
  for (uint64_t i = 0; i < layers; ++i) {
    for (uint64_t j = 0; j < 4; ++j) {
      list.push_back(draw({hidden_size, hidden_size}, spread, 10 * i + j + 2));
    }
    list.push_back(draw({1}, 1, 10 * i + 8));
    list.push_back(draw({1}, 1, 10 * i + 9));
  }
  return list;
}

inline int64_t layers_of(const Tensors& parameters) {
  return (std::ssize(parameters) - 1) / kPerLayer;
}

inline at::Tensor sublayer(const at::Tensor& x, const at::Tensor& map) {
  return at::matmul(x, map).tanh();
}

// The projected form: h + sublayer summed into the history, one router whose result stays outside,
// one whose result is the layer's state. ψ depends on the values, as in a model.
inline at::Tensor projected(Store& store, const Tensors& p) {
  const DepthRouteOptions options{
      {Normalizer::kSoftmax1}, 0.125, false, 1e-6, DepthLine{-0.5, 0.25}};
  auto h = store.append(0, p[0]);
  std::vector<int64_t> states = {0};
  at::Tensor weight_sum;
  for (int64_t i = 0; i < layers_of(p); ++i) {
    const Tensors q(p.begin() + 1 + i * kPerLayer, p.begin() + 1 + (i + 1) * kPerLayer);
    const int64_t first = 3 * i + 1, second = 3 * i + 2, state = 3 * i + 3;
    const auto psi = h.select(1, 0).sigmoid();
    const auto c = store.append_sum(first, h, sublayer(h, q[0]), psi);
    auto slots = states;
    slots.push_back(first);
    const auto [after, weights] =
        store.route(-1, slots, {at::matmul(c, q[2]), q[4], {}, q[5]}, options);
    const auto e = store.append_sum(second, after, sublayer(after, q[1]));
    store.share_null(second, first);
    slots.push_back(second);
    h = std::get<0>(store.route(state, slots, {at::matmul(e, q[3]), q[4], {}, q[5]}, options));
    store.share_null(state, first);
    states.push_back(state);
    const auto part = (weights * weights).sum();  // the weights' own gradient
    weight_sum = weight_sum.defined() ? weight_sum + part : part;
  }
  return h.cos().sum() + weight_sum;
}

// The pseudo-query and block forms: sublayer outputs appended, runs of two summed, normalised keys,
// one direction for every token.
inline at::Tensor pseudo_query(Store& store, const Tensors& p) {
  const DepthRouteOptions options{{Normalizer::kSoftmax1}, 1.0, true, 1e-3};
  const auto shared = [](const at::Tensor& map) { return map.narrow(0, 0, 1); };
  store.append(0, p[0]);
  std::vector<int64_t> slots = {0};
  at::Tensor x;
  for (int64_t i = 0; i < layers_of(p); ++i) {
    const Tensors q(p.begin() + 1 + i * kPerLayer, p.begin() + 1 + (i + 1) * kPerLayer);
    x = std::get<0>(store.route(-1, slots, {shared(q[2]), {}, {}, {}}, options));
    const auto first = store.append(2 * i + 1, sublayer(x, q[0]));
    slots.push_back(2 * i + 1);
    x = std::get<0>(store.route(-1, slots, {shared(q[3]), {}, {}, {}}, options));
    store.append_sum(2 * i + 2, first, sublayer(x, q[1]) * q[4] * q[5]);
    slots.back() = 2 * i + 2;  // the run's sum takes its part's place
  }
  x = std::get<0>(store.route(-1, slots, {shared(p[1]), {}, {}, {}}, options));
  return x.cos().sum();
}

}  // namespace oasis::testing_support
