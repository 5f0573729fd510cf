// Cross-entropy of a language-model head without its logits:
//   mean over the counted rows of  −log softmax(W h_m)[target_m]
// Rows are taken in chunks, so that at most about kLogitBudget logits exist at a time (256 MiB of
// them on the GPU), and the gradient is computed in the forward
// pass, while a chunk's logits are at hand.
//
// Operator: oasis::linear_cross_entropy(Tensor hidden, Tensor weight, Tensor targets)
//             -> (Tensor mean_loss, Tensor token_loss)
// hidden [M, D], weight [V, D] (moved to hidden's type), targets int64 [M] in [0, V), or
// kIgnoredTarget for a row that does not count. mean_loss [] and token_loss [M] (0 where ignored)
// are float32, float64 for float64 input. mean_loss is differentiable in hidden and weight.
// The mean of no rows is NaN. A target outside [0, V) is an error on the CPU; on the GPU, which is
// not waited for, its loss is NaN. Under autocast the matrix products run in its type.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <tuple>

namespace oasis {

inline constexpr int64_t kIgnoredTarget = -100;
inline constexpr int64_t kLogitBudget = int64_t{1} << 22;  // logits in a chunk

std::tuple<at::Tensor, at::Tensor> linear_cross_entropy(const at::Tensor& hidden,
                                                        const at::Tensor& weight,
                                                        const at::Tensor& targets);

}  // namespace oasis
