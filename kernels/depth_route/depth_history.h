// The sources of a forward pass in one [slots, M, D] buffer.
//
// Values enter by `append` (the kernel that makes a value writes it straight into its slot) and are
// read by `route`. In the backward pass a router only notes what each of its sources is to get (its
// own gradient and three small factors per source and token); the value's gradient is gathered from
// those notes when the last router that read the value is done. A buffer that every router adds to
// would take at least as many bytes, and round every time. On the GPU the notes of every few
// routers are added up ahead of time, for all sources at once, so that a router's gradient and
// direction are read (and kept) once and not for every source. Autograd is kept to that order by a
// scalar that is threaded through the calls ("chain"): each append makes a new link, each router
// hangs on the link current at its time, and a node runs backward only after everything that hangs
// on it.
//
// A history serves one forward pass and at most one backward pass.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <tuple>
#include <vector>

#include "kernels/depth_route/depth_route.h"

namespace oasis {

class DepthHistory {
 public:
  // slots × [tokens, hidden_size], of the given type and device.
  DepthHistory(int64_t slots, int64_t tokens, int64_t hidden_size,
               const at::TensorOptions& options);

  // Each returns the value in its slot, [M, D]. Slots are written once, except without gradients,
  // where a slot may be overwritten. `null`: the value's branch null ψ [M]; undefined: zero, or to
  // be shared. Its gradient is the sum over all readings of the slots that share it.
  at::Tensor append(int64_t slot, const at::Tensor& value, const at::Tensor& null = {});
  at::Tensor append_sum(int64_t slot, const at::Tensor& a, const at::Tensor& b,
                        const at::Tensor& null = {});
  // a + x·Wᵀ of x [M, K] and weight [D, K], one product on the GPU.
  at::Tensor append_product(int64_t slot, const at::Tensor& a, const at::Tensor& x,
                            const at::Tensor& weight, const at::Tensor& null = {});
  // The value in `slot` has the branch null of the one in `with`, which was written before it.
  void share_null(int64_t slot, int64_t with);

  // Routes over the given slots; with β, their branch nulls are the nulls. Returns
  // (routed [M, D], weights [M, n]).
  std::tuple<at::Tensor, at::Tensor> route(const std::vector<int64_t>& slots,
                                           const DepthRouteInputs& inputs,
                                           const DepthRouteOptions& options);
  // The same, the result written into a slot.
  std::tuple<at::Tensor, at::Tensor> route_append(int64_t slot, const std::vector<int64_t>& slots,
                                                  const DepthRouteInputs& inputs,
                                                  const DepthRouteOptions& options);

  // The value in a slot as a constant (no gradient).
  at::Tensor value(int64_t slot) const;

  struct State;

 private:
  std::shared_ptr<State> state_;
  at::Tensor chain_;
};

}  // namespace oasis
