#include "kernels/attention/attention_cuda.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>
#include <limits>

#include "kernels/attention/sparse_attention_kernel.h"
#include "kernels/cuda/launch.h"

namespace oasis::attention_paths {
namespace {

// Order of Forward::saved.
enum Saved { kMoment, kThresholds, kFlags };

constexpr std::int64_t kCopyBytes = 16;

// The kernels copy 16 bytes of a row at a time, and the copy engine knows no repeated dimension.
at::Tensor with_aligned_rows(const at::Tensor& x) {
  bool aligned =
      x.stride(3) == 1 && reinterpret_cast<std::uintptr_t>(x.const_data_ptr()) % kCopyBytes == 0;
  for (int dimension = 0; dimension < 3; ++dimension) {
    aligned = aligned && x.stride(dimension) * x.element_size() % kCopyBytes == 0 &&
              (x.stride(dimension) > 0 || x.size(dimension) == 1);
  }
  aligned = aligned && x.stride(2) <= std::numeric_limits<int>::max();
  return aligned ? x : x.clone(at::MemoryFormat::Contiguous);
}

cuda::HeadTensor heads_of(const at::Tensor& x) {
  return {const_cast<void*>(x.const_data_ptr()), x.stride(0), x.stride(1),
          static_cast<int>(x.stride(2))};
}

cuda::SparseNormalizer kernel_normalizer(Normalizer kind) {
  switch (kind) {
    case Normalizer::kSparsemax:
      return cuda::SparseNormalizer::kSparsemax;
    case Normalizer::kEntmax15:
      return cuda::SparseNormalizer::kEntmax15;
    default:
      return cuda::SparseNormalizer::kClippedSoftmax;
  }
}

// q, k, v have aligned rows.
cuda::SparseAttention describe(const Problem& problem, const std::vector<at::Tensor>& saved) {
  const auto& q = problem.q;
  cuda::SparseAttention kernel;
  kernel.normalizer = kernel_normalizer(problem.spec.kind);
  kernel.type = q.scalar_type() == at::kHalf ? cuda::HalfType::kFloat16 : cuda::HalfType::kBFloat16;
  kernel.batch = static_cast<int>(q.size(0));
  kernel.heads = static_cast<int>(q.size(1));
  kernel.kv_heads = static_cast<int>(problem.k.size(1));
  kernel.length = static_cast<int>(q.size(2));
  kernel.head_size = static_cast<int>(q.size(3));
  kernel.scale = static_cast<float>(problem.scale);
  kernel.gain = static_cast<float>(problem.spec.zeta - problem.spec.gamma);
  kernel.offset = static_cast<float>(problem.spec.gamma);
  kernel.q = heads_of(q);
  kernel.k = heads_of(problem.k);
  kernel.v = heads_of(problem.v);
  kernel.moment = heads_of(saved[kMoment]);
  kernel.thresholds = saved[kThresholds].mutable_data_ptr<float>();
  kernel.flags = saved[kFlags].mutable_data_ptr<std::uint8_t>();
  return kernel;
}

Problem with_aligned_rows(const Problem& problem) {
  return {with_aligned_rows(problem.q), with_aligned_rows(problem.k), with_aligned_rows(problem.v),
          problem.spec, problem.scale};
}

bool has_enough_shared_memory(const at::Device& device) {
  int bytes = 0;
  cuda::check(
      cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device.index()),
      "oasis::attention");
  return bytes >= cuda::kMostSharedMemory;
}

bool serves(const Problem& problem) {
  const auto kind = problem.spec.kind;
  const auto type = problem.q.scalar_type();
  const auto head_size = problem.q.size(3);
  return problem.q.is_cuda() && (type == at::kBFloat16 || type == at::kHalf) &&
         (kind == Normalizer::kClippedSoftmax || kind == Normalizer::kSparsemax ||
          kind == Normalizer::kEntmax15) &&
         head_size % 8 == 0 && head_size <= 128 &&
         // Thresholds are kept in units of unscaled products.
         problem.scale > 1e-6 && problem.scale < 1e6 &&
         // Limits of a launch.
         problem.q.size(0) <= 65535 && problem.q.size(1) <= 65535 &&
         problem.q.size(1) / problem.k.size(1) * problem.q.size(2) <=
             std::int64_t{cuda::kMostFlags} * cuda::kTileRows &&
         has_enough_shared_memory(problem.q.device());
}

Forward forward(const Problem& input) {
  const c10::cuda::CUDAGuard guard(input.q.device());
  const auto problem = with_aligned_rows(input);
  const auto& q = problem.q;
  const auto context = empty_heads(q, q.size(1));
  const auto rows = q.options().dtype(at::kFloat);
  const auto length = static_cast<int>(q.size(2));
  const std::vector<at::Tensor> saved = {
      empty_heads(q, q.size(1)), at::empty({q.size(0), q.size(1), length}, rows),
      at::empty({q.size(0), q.size(1), cuda::blocks_of(length), cuda::tiles_of(length)},
                q.options().dtype(at::kByte))};
  cuda::sparse_attention_forward(describe(problem, saved), heads_of(context),
                                 c10::cuda::getCurrentCUDAStream());
  return {context, at::zeros(q.sizes().slice(0, 3), rows), saved};
}

Gradients backward(const Problem& input, const std::vector<at::Tensor>& saved,
                   const at::Tensor& grad_context) {
  const auto& q = input.q;
  if (!grad_context.defined()) {  // only the null posterior was used, and it is constant
    return {at::zeros_like(q), at::zeros_like(input.k), at::zeros_like(input.v)};
  }
  const c10::cuda::CUDAGuard guard(q.device());
  const auto problem = with_aligned_rows(input);
  const auto grad_out = with_aligned_rows(grad_context);
  const auto rows = at::empty(
      {q.size(0), q.size(1), cuda::blocks_of(static_cast<int>(q.size(2))) * cuda::kBlockRows, 2},
      q.options().dtype(at::kFloat));
  Gradients grads{empty_heads(q, q.size(1)), empty_heads(q, problem.k.size(1)),
                  empty_heads(q, problem.k.size(1))};
  cuda::sparse_attention_backward(
      describe(problem, saved),
      {heads_of(grad_out), heads_of(grads.q), heads_of(grads.k), heads_of(grads.v),
       reinterpret_cast<float2*>(rows.mutable_data_ptr<float>())},
      c10::cuda::getCurrentCUDAStream());
  return grads;
}

constexpr SparseAttentionCuda kKernels{serves, forward, backward};

const bool registered = [] {
  sparse_attention_cuda = &kKernels;
  return true;
}();

}  // namespace
}  // namespace oasis::attention_paths
