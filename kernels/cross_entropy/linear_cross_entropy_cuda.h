// The CUDA path behind linear_cross_entropy.h: no host synchronisation.
#pragma once

#include <ATen/core/Tensor.h>

namespace oasis {

struct LinearCrossEntropyCuda {
  struct Result {
    at::Tensor losses;  // [M] float32, 0 where ignored
    // Of Σ losses; undefined unless asked for.
    at::Tensor grad_hidden;  // [M, D] as hidden
    at::Tensor grad_weight;  // [V, D] float32
  };

  bool (*serves)(const at::Tensor& hidden, const at::Tensor& weight);
  // hidden [M, D], weight [V, D] of one type, targets [M]: contiguous.
  Result (*run)(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets,
                bool with_gradient);
};

extern const LinearCrossEntropyCuda*
    linear_cross_entropy_cuda;  // null unless the library is loaded

}  // namespace oasis
