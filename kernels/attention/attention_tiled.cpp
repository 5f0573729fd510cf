// Attention in query tiles on the CPU. A tile's scores against all keys up to the diagonal are a
// [rows, keys] buffer that stays in the processor's cache; the forward pass keeps two numbers per
// row (RowStatistic), from which the backward pass recomputes the probabilities.
#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>

#include "kernels/attention/attention_paths.h"
#include "kernels/attention/blas.h"
#include "kernels/normalizer/row.h"
#include "kernels/parallel.h"

namespace oasis::attention_paths {
namespace {

constexpr std::int64_t kTileRows = 64;

// BLAS reads rows of d neighbours at any distance that keeps them apart.
at::Tensor with_plain_rows(const at::Tensor& x) {
  const bool unit = x.stride(3) == 1 || x.size(3) == 1;
  const bool apart = x.stride(2) >= x.size(3) || x.size(2) == 1;
  return unit && apart ? x : x.contiguous();
}

template <class T>
Matrix<T> head_matrix(T* data, const at::Tensor& tensor, std::int64_t batch, std::int64_t head,
                      std::int64_t row = 0) {
  return {data + batch * tensor.stride(0) + head * tensor.stride(1) + row * tensor.stride(2),
          // One row has no stride to speak of, but BLAS insists on at least the row's length.
          std::max(tensor.stride(2), tensor.size(3))};
}

struct Sizes {
  explicit Sizes(const Problem& problem)
      : heads(problem.q.size(1)),
        group(problem.q.size(1) / problem.k.size(1)),
        length(problem.q.size(2)),
        head_size(static_cast<int>(problem.q.size(3))),
        problems(problem.q.size(0) * problem.q.size(1)),
        tiles((length + kTileRows - 1) / kTileRows) {}

  std::int64_t heads, group, length;
  int head_size;
  std::int64_t problems;  // B·H
  std::int64_t tiles;     // per head
};

template <class T>
void forward_tile(const Problem& problem, const Sizes& sizes, std::int64_t item, std::int64_t tile,
                  const Forward& out, T* scores) {
  const auto batch = item / sizes.heads;
  const auto head = item % sizes.heads;
  const auto begin = tile * kTileRows;
  const auto end = std::min(begin + kTileRows, sizes.length);
  const auto rows = static_cast<int>(end - begin);
  const auto keys = static_cast<int>(end);
  const auto q = head_matrix(problem.q.const_data_ptr<T>(), problem.q, batch, head, begin);
  const auto k = head_matrix(problem.k.const_data_ptr<T>(), problem.k, batch, head / sizes.group);
  const auto v = head_matrix(problem.v.const_data_ptr<T>(), problem.v, batch, head / sizes.group);
  const auto context =
      head_matrix(out.context.mutable_data_ptr<T>(), out.context, batch, head, begin);
  auto* null = out.null_posterior.mutable_data_ptr<T>() + item * sizes.length;
  auto* statistics =
      reinterpret_cast<RowStatistic<T>*>(out.saved[0].mutable_data_ptr<T>()) + item * sizes.length;

  gemm<T>(rows, keys, sizes.head_size, static_cast<T>(problem.scale), q, k.t(), 0, {scores, keys});
  for (auto t = begin; t < end; ++t) {
    T* row = scores + (t - begin) * keys;
    statistics[t] = normalize_row_with_statistic(problem.spec, row, row, t + 1);
    null[t] = problem.spec.has_null() ? statistics[t].null_posterior() : T(0);
    std::fill(row + t + 1, row + keys, T(0));
  }
  gemm<T>(rows, sizes.head_size, keys, 1, {scores, keys}, v, 0, context);
}

// Gradients of one head; tiles in order, so that the sums over query tiles in grad_k and grad_v
// are the same in every run.
template <class T>
void backward_head(const Problem& problem, const Sizes& sizes, std::int64_t item,
                   const RowStatistic<T>* statistics, const at::Tensor& grad_context,
                   const T* grad_null, const Gradients& grads, T* scores, T* grad_scores) {
  const auto batch = item / sizes.heads;
  const auto head = item % sizes.heads;
  const auto k = head_matrix(problem.k.const_data_ptr<T>(), problem.k, batch, head / sizes.group);
  const auto v = head_matrix(problem.v.const_data_ptr<T>(), problem.v, batch, head / sizes.group);
  const auto grad_k = head_matrix(grads.k.mutable_data_ptr<T>(), grads.k, batch, head);
  const auto grad_v = head_matrix(grads.v.mutable_data_ptr<T>(), grads.v, batch, head);
  const auto scale = static_cast<T>(problem.scale);
  const auto d = sizes.head_size;

  // From the last tile: it meets every key, so it writes what the others add to.
  for (auto tile = sizes.tiles - 1; tile >= 0; --tile) {
    const auto begin = tile * kTileRows;
    const auto end = std::min(begin + kTileRows, sizes.length);
    const auto rows = static_cast<int>(end - begin);
    const auto keys = static_cast<int>(end);
    const T beta = tile == sizes.tiles - 1 ? T(0) : T(1);
    const auto q = head_matrix(problem.q.const_data_ptr<T>(), problem.q, batch, head, begin);
    const auto grad_out =
        head_matrix(grad_context.const_data_ptr<T>(), grad_context, batch, head, begin);
    const auto grad_q = head_matrix(grads.q.mutable_data_ptr<T>(), grads.q, batch, head, begin);

    gemm<T>(rows, keys, d, scale, q, k.t(), 0, {scores, keys});
    gemm<T>(rows, keys, d, 1, grad_out, v.t(), 0, {grad_scores, keys});
    for (auto t = begin; t < end; ++t) {
      T* row = scores + (t - begin) * keys;
      T* grad_row = grad_scores + (t - begin) * keys;
      recompute_row_backward(problem.spec, statistics[t], row, grad_row,
                             grad_null == nullptr ? T(0) : grad_null[t], t + 1);
      std::fill(row + t + 1, row + keys, T(0));
      std::fill(grad_row + t + 1, grad_row + keys, T(0));
    }
    gemm<T>(keys, d, rows, 1, Matrix<const T>{scores, keys}.t(), grad_out, beta, grad_v);
    gemm<T>(keys, d, rows, scale, Matrix<const T>{grad_scores, keys}.t(), q, beta, grad_k);
    gemm<T>(rows, d, keys, scale, {grad_scores, keys}, k, 0, grad_q);
  }
}

Problem with_plain_rows(Problem problem) {
  problem.q = with_plain_rows(problem.q);
  problem.k = with_plain_rows(problem.k);
  problem.v = with_plain_rows(problem.v);
  return problem;
}

}  // namespace

Forward tiled_forward(const Problem& input) {
  const auto problem = with_plain_rows(input);
  const Sizes sizes(problem);
  const auto& q = problem.q;
  Forward out{empty_heads(q, sizes.heads),
              at::empty(q.sizes().slice(0, 3), q.options()),
              {at::empty({q.size(0), sizes.heads, sizes.length, 2}, q.options())}};
  AT_DISPATCH_FLOATING_TYPES(q.scalar_type(), "oasis::attention", [&] {
    parallel_rows(sizes.problems * sizes.tiles, 1, [&](std::int64_t first, std::int64_t last) {
      const auto buffer = at::empty({kTileRows, sizes.length}, q.options());
      for (auto task = first; task < last; ++task) {
        // Short and long tiles alternate, so that equal shares of tasks are equal
        // work.
        const auto index = task % sizes.tiles;
        const auto tile = index % 2 == 0 ? index / 2 : sizes.tiles - 1 - index / 2;
        forward_tile(problem, sizes, task / sizes.tiles, tile, out,
                     buffer.mutable_data_ptr<scalar_t>());
      }
    });
  });
  return out;
}

Gradients tiled_backward(const Problem& input, const std::vector<at::Tensor>& saved,
                         const at::Tensor& grad_context, const at::Tensor& grad_null) {
  const auto problem = with_plain_rows(input);
  const Sizes sizes(problem);
  const auto& q = problem.q;
  const auto grad_out = grad_context.defined() ? with_plain_rows(grad_context) : at::zeros_like(q);
  const auto grad_rho = grad_null.defined() ? grad_null.contiguous() : at::Tensor();
  Gradients grads{empty_heads(q, sizes.heads), empty_heads(q, sizes.heads),
                  empty_heads(q, sizes.heads)};
  AT_DISPATCH_FLOATING_TYPES(q.scalar_type(), "oasis::attention_backward", [&] {
    const auto* statistics =
        reinterpret_cast<const RowStatistic<scalar_t>*>(saved[0].const_data_ptr<scalar_t>());
    const auto* rho_data = grad_rho.defined() ? grad_rho.const_data_ptr<scalar_t>() : nullptr;
    parallel_rows(sizes.problems, 1, [&](std::int64_t first, std::int64_t last) {
      const auto buffers = at::empty({2, kTileRows, sizes.length}, q.options());
      auto* scores = buffers.mutable_data_ptr<scalar_t>();
      for (auto item = first; item < last; ++item) {
        const auto row = item * sizes.length;
        backward_head(problem, sizes, item, statistics + row, grad_out,
                      rho_data == nullptr ? nullptr : rho_data + row, grads, scores,
                      scores + kTileRows * sizes.length);
      }
    });
  });
  if (sizes.group > 1) {
    const auto over_group = [&](const at::Tensor& grad) {
      return grad.unflatten(1, {sizes.heads / sizes.group, sizes.group}).sum(2);
    };
    grads.k = over_group(grads.k);
    grads.v = over_group(grads.v);
  }
  return grads;
}

}  // namespace oasis::attention_paths
