// The directions u = W_kᵀ(W_q y) of all routers of a forward pass: a router asks its keys W_k y_i
// by one vector a token (DESIGN.md, section 7).
//
// The gradients of one router's weights are thin products over all tokens, which keep a GPU busy
// only a few routers at a time. So with gradients on the GPU, what they need is kept side by side
// for kRouterGroup routers, and the last router of a group to go backward starts two batched
// products for all of them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace oasis {

inline constexpr int64_t kRouterGroup = 6;

class RouterBank {
 public:
  // w_q and w_k: a matrix [A, D] for each router, all alike. `options`: of the values y. Products
  // run in that type, on the GPU under autocast in autocast's, and there the gradients of float32
  // weights leave them in float32.
  RouterBank(const std::vector<at::Tensor>& w_q, const std::vector<at::Tensor>& w_k, int64_t tokens,
             const at::TensorOptions& options);

  // y [M, D] -> u [M, D], once for each router. Fastest where the values of a group's routers
  // follow each other in memory at equal distances.
  at::Tensor direction(int64_t router, const at::Tensor& y);

  // Where ∂L/∂u [M, D] of that router is best written; undefined: anywhere. Routers must go
  // backward group by group.
  at::Tensor gradient_of_direction(int64_t router) const;

  struct State;

 private:
  std::vector<at::Tensor> w_q_, w_k_;
  std::shared_ptr<State> state_;  // null on the CPU
  at::Tensor link_;               // makes the weights' node wait for every router's
};

}  // namespace oasis
