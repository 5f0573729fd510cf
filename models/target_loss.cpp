#include "models/target_loss.h"

#include "kernels/cross_entropy/linear_cross_entropy.h"

namespace oasis {

at::Tensor target_loss(const Decoder& model, const at::Tensor& tokens, const at::Tensor& targets) {
  const auto hidden = model.forward(tokens);
  return std::get<0>(linear_cross_entropy(hidden.reshape({tokens.numel(), -1}), model.head_weight(),
                                          targets.reshape({-1})));
}

}  // namespace oasis
