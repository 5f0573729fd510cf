// Activation checkpointing (Chen et al. 2016): a part of the model keeps its input alone and is run
// again in the backward pass.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

namespace oasis {

// function(x), whose results may depend on parameters that it captures: their gradients accumulate
// as ever. `function` must give the same results each time and outlive the backward pass by what it
// captures; all results are defined. It runs under the same autocast both times. Without gradients
// it is called and no more.
std::vector<at::Tensor> recompute(
    const std::function<std::vector<at::Tensor>(const at::Tensor&)>& function, const at::Tensor& x);

}  // namespace oasis
