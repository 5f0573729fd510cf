// Attention in query tiles as compositions of LibTorch operators: plain, for devices that have no
// kernel of their own, and for checking those that do.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <limits>

#include "kernels/attention/attention_paths.h"
#include "kernels/normalizer/composed.h"

namespace oasis::attention_paths {
namespace {

constexpr std::int64_t kTileElements = std::int64_t{1} << 26;  // 256 MiB of float32 scores

// Query heads that share a key head are folded into the rows of its product, so that no key or
// value is copied: [B,H,rows,n] -> [B,Hkv,H/Hkv·rows,n], and back.
struct Heads {
  explicit Heads(const Problem& problem) : kv(problem.k.size(1)), all(problem.q.size(1)) {}

  at::Tensor fold(const at::Tensor& x) const {
    return x.reshape({x.size(0), kv, all / kv * x.size(2), x.size(3)});
  }
  at::Tensor unfold(const at::Tensor& x) const {
    return x.view({x.size(0), all, x.size(2) * kv / all, x.size(3)});
  }

  std::int64_t kv, all;
};

std::int64_t tile_rows(const Problem& problem) {
  const auto& q = problem.q;
  const auto rows = kTileElements / (q.size(0) * q.size(1) * q.size(2));
  return std::clamp<std::int64_t>(rows, std::min<std::int64_t>(16, q.size(2)), q.size(2));
}

at::Tensor tile_scores(const Problem& problem, const Heads& heads, std::int64_t begin,
                       std::int64_t end) {
  const auto q = heads.fold(problem.q.slice(2, begin, end)) * problem.scale;
  const auto k = problem.k.slice(2, 0, end);
  auto scores = heads.unfold(at::matmul(q, k.transpose(-1, -2)));
  const auto positions = at::arange(end, problem.q.options().dtype(at::kLong));
  const auto hidden = positions.unsqueeze(0) > positions.slice(0, begin, end).unsqueeze(1);
  return scores.masked_fill_(hidden, -std::numeric_limits<double>::infinity());
}

}  // namespace

Forward composed_forward(const Problem& problem) {
  const Heads heads(problem);
  const auto length = problem.q.size(2);
  const auto rows = tile_rows(problem);
  Forward out{at::empty_like(problem.q),
              at::empty(problem.q.sizes().slice(0, 3), problem.q.options()),
              {at::empty(problem.q.sizes().slice(0, 3), problem.q.options()).unsqueeze(-1),
               at::empty(problem.q.sizes().slice(0, 3), problem.q.options()).unsqueeze(-1)}};
  for (std::int64_t begin = 0; begin < length; begin += rows) {
    const auto end = std::min(begin + rows, length);
    const auto scores = tile_scores(problem, heads, begin, end);
    const auto statistic = composed::row_statistic(problem.spec, scores);
    const auto probs = composed::apply_statistic(problem.spec, statistic, scores);
    const auto context = at::matmul(heads.fold(probs), problem.v.slice(2, 0, end));
    out.context.slice(2, begin, end).copy_(heads.unfold(context));
    out.null_posterior.slice(2, begin, end)
        .copy_(composed::null_posterior(problem.spec, statistic).squeeze(-1));
    out.saved[0].slice(2, begin, end).copy_(statistic.shift);
    out.saved[1].slice(2, begin, end).copy_(statistic.value);
  }
  return out;
}

Gradients composed_backward(const Problem& problem, const std::vector<at::Tensor>& saved,
                            const at::Tensor& grad_context, const at::Tensor& grad_null) {
  const Heads heads(problem);
  const auto length = problem.q.size(2);
  const auto rows = tile_rows(problem);
  const auto grad_out = grad_context.defined() ? grad_context : at::zeros_like(problem.q);
  Gradients grads{at::empty_like(problem.q), at::zeros_like(problem.k), at::zeros_like(problem.v)};
  for (std::int64_t begin = 0; begin < length; begin += rows) {
    const auto end = std::min(begin + rows, length);
    const composed::Statistic statistic{saved[0].slice(2, begin, end),
                                        saved[1].slice(2, begin, end)};
    const auto scores = tile_scores(problem, heads, begin, end);
    const auto probs = composed::apply_statistic(problem.spec, statistic, scores);
    const auto grad_tile = heads.fold(grad_out.slice(2, begin, end));
    const auto grad_rho =
        grad_null.defined() ? grad_null.slice(2, begin, end).unsqueeze(-1) : grad_null;
    const auto v = problem.v.slice(2, 0, end);
    const auto grad_probs = heads.unfold(at::matmul(grad_tile, v.transpose(-1, -2)));
    const auto grad_scores = heads.fold(
        composed::normalize_backward(problem.spec, statistic, scores, probs, grad_probs, grad_rho) *
        problem.scale);
    grads.v.slice(2, 0, end).add_(at::matmul(heads.fold(probs).transpose(-1, -2), grad_tile));
    grads.k.slice(2, 0, end).add_(
        at::matmul(grad_scores.transpose(-1, -2), heads.fold(problem.q.slice(2, begin, end))));
    grads.q.slice(2, begin, end)
        .copy_(heads.unfold(at::matmul(grad_scores, problem.k.slice(2, 0, end))));
  }
  return grads;
}

}  // namespace oasis::attention_paths
