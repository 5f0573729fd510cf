// What the operators' autograd functions share.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/custom_function.h>

#include "kernels/normalizer/normalizer.h"

namespace oasis {

// float64 stays, everything else computes in float32; contiguous.
inline at::Tensor in_compute_type(const at::Tensor& x) {
  return x.to(x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat).contiguous();
}

inline void save_normalizer(torch::autograd::AutogradContext* context, const NormalizerSpec& spec) {
  context->saved_data["normalizer"] = static_cast<std::int64_t>(spec.kind);
  context->saved_data["zeta"] = spec.zeta;
  context->saved_data["gamma"] = spec.gamma;
}

inline NormalizerSpec saved_normalizer(torch::autograd::AutogradContext* context) {
  return {static_cast<Normalizer>(context->saved_data["normalizer"].toInt()),
          context->saved_data["zeta"].toDouble(), context->saved_data["gamma"].toDouble()};
}

}  // namespace oasis
