// Linear layers: y = x·Wᵀ + b.
//
// On the CPU in float32 the products go to oneDNN, which uses AVX-512 wherever the processor has
// it; the BLAS behind at::linear takes an AVX2 path on processors that are not Intel's. Measured
// on an AMD EPYC, 2 threads, [2048, 1024]·[1024, 384]: 450 against 220 GFLOP/s. Everything else is
// at::linear.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace oasis {

// x [.., in], weight [out, in], bias [out] or undefined. Differentiable in all three.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias = {});

// x·W_iᵀ for several weights [out_i, in] of one input. In the backward pass the products add up
// x's gradient themselves. On the GPU under autocast they run in its type, and the gradient of a
// float32 weight leaves its product in float32. Without gradients, weights that follow each other
// in memory (inference_weights.h lays them so) make one product, of which the results are views.
std::vector<at::Tensor> linears(const at::Tensor& x, const std::vector<at::Tensor>& weights);

// The gradient gradᵀ·x [N, K] of a weight, from grad [M, N] and x [M, K]; on the GPU a float32 one
// leaves its product in float32. Not recorded by autograd.
at::Tensor weight_gradient(const at::Tensor& grad, const at::Tensor& x, at::ScalarType type);

// a·b for matrices [M, K] and [K, N] of any strides, by the same library. Not recorded by autograd.
at::Tensor matrix_product(const at::Tensor& a, const at::Tensor& b);

}  // namespace oasis
