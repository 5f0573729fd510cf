#include "kernels/cross_entropy/linear_cross_entropy.h"

#include <ATen/TensorOperators.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>

#include "kernels/cross_entropy/linear_cross_entropy_cuda.h"
#include "kernels/dispatch.h"
#include "kernels/linear/linear.h"
#include "kernels/normalizer/row.h"
#include "kernels/parallel.h"

namespace oasis {

const LinearCrossEntropyCuda* linear_cross_entropy_cuda = nullptr;

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Losses of the chunk's rows; `logits` [m, V] becomes weight·(softmax − onehot) if with_gradient.
void chunk_cpu(at::Tensor& logits, const at::Tensor& targets, at::Tensor losses,
               const at::Tensor& row_weight, bool with_gradient) {
  const int64_t M = logits.size(0), V = logits.size(1);
  dispatch_floating(logits.scalar_type(), "oasis::linear_cross_entropy", [&]<typename scalar_t>() {
    auto* rows = logits.mutable_data_ptr<scalar_t>();
    const auto* target = targets.const_data_ptr<int64_t>();
    auto* loss = losses.mutable_data_ptr<scalar_t>();
    const auto weight = row_weight.item<scalar_t>();
    parallel_rows(M, 8, [&](int64_t begin, int64_t end) {
      for (int64_t m = begin; m < end; ++m) {
        scalar_t* row = rows + m * V;
        const int64_t y = target[m];
        if (y == kIgnoredTarget) {
          loss[m] = 0;
          if (with_gradient) std::fill(row, row + V, scalar_t(0));
          continue;
        }
        const scalar_t shift = row_max(row, V);
        const scalar_t own = row[y] - shift;
        const scalar_t sum = row_sum<scalar_t>(V, [=](int64_t v) {
          const scalar_t e = vector_exp(row[v] - shift);
          row[v] = e;
          return e;
        });
        loss[m] = std::log(sum) - own;
        if (with_gradient) {
          const scalar_t scale = weight / sum;
#pragma omp simd
          for (int64_t v = 0; v < V; ++v) row[v] *= scale;
          row[y] -= weight;
        }
      }
    });
  });
}

void chunk_composed(at::Tensor& logits, const at::Tensor& targets, at::Tensor losses,
                    const at::Tensor& row_weight, bool with_gradient) {
  const auto counted = targets.ne(kIgnoredTarget);
  const auto index = at::where(counted, targets, at::zeros({}, targets.options())).unsqueeze(1);
  const auto type = logits.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  auto log_probabilities = at::log_softmax(logits, -1, type);
  losses.copy_(log_probabilities.gather(1, index).squeeze(1).neg() * counted);
  if (with_gradient) {
    auto gradient = log_probabilities.exp_();
    gradient.scatter_add_(1, index, at::zeros_like(index, type).sub_(1));
    logits = (gradient * (counted * row_weight).to(type).unsqueeze(1)).to(logits.scalar_type());
  }
}

class LinearCrossEntropyFunction : public torch::autograd::Function<LinearCrossEntropyFunction> {
 public:
  static variable_list forward(AutogradContext* ctx, const at::Tensor& hidden_input,
                               const at::Tensor& weight_input, const at::Tensor& targets_input,
                               bool with_gradient) {
    const auto hidden = hidden_input.contiguous();
    const auto weight = weight_input.to(hidden.scalar_type()).contiguous();
    const auto targets = targets_input.contiguous();
    const int64_t M = hidden.size(0), V = weight.size(0);
    const auto loss_type = hidden.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    // On the device: to ask it for the count would make the host wait.
    const auto row_weight = targets.ne(kIgnoredTarget).sum().to(loss_type).reciprocal();
    auto losses = at::empty({M}, hidden.options().dtype(loss_type));
    at::Tensor grad_hidden, grad_weight;
    if (with_gradient) {
      grad_hidden = at::empty_like(hidden);
      grad_weight = at::zeros(weight.sizes(), hidden.options().dtype(loss_type));
    }
    // Of equal sizes: a library may add up a product of one row less exactly than of several.
    const int64_t most = std::max<int64_t>(kLogitBudget / V, 1);
    const int64_t chunks = std::max<int64_t>((M + most - 1) / most, 1);
    const int64_t chunk = std::max<int64_t>((M + chunks - 1) / chunks, 1);
    const auto weight_transposed = weight.t();
    for (int64_t begin = 0; begin < M; begin += chunk) {
      const int64_t rows = std::min(chunk, M - begin);
      const auto h = hidden.narrow(0, begin, rows);
      auto logits = matrix_product(h, weight_transposed);
      const auto process = hidden.is_cpu() ? chunk_cpu : chunk_composed;
      process(logits, targets.narrow(0, begin, rows), losses.narrow(0, begin, rows), row_weight,
              with_gradient);
      if (with_gradient) {
        grad_hidden.narrow(0, begin, rows).copy_(matrix_product(logits, weight));
        grad_weight.add_(matrix_product(logits.t(), h));
      }
    }
    if (with_gradient) {
      ctx->save_for_backward({grad_hidden, grad_weight.to(weight_input.scalar_type())});
    }
    ctx->mark_non_differentiable({losses});
    return {losses.sum() * row_weight, losses};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const auto& upstream = grads[0];
    return {saved[0] * upstream.to(saved[0].scalar_type()),
            saved[1] * upstream.to(saved[1].scalar_type()), at::Tensor(), at::Tensor()};
  }
};

// The gradients that are kept are those of Σ losses: what comes in from above and the mean's
// divisor meet them in one pass, in float32.
class LinearCrossEntropyCudaFunction
    : public torch::autograd::Function<LinearCrossEntropyCudaFunction> {
 public:
  static variable_list forward(AutogradContext* ctx, const at::Tensor& hidden,
                               const at::Tensor& weight, const at::Tensor& targets,
                               at::ScalarType type, bool with_gradient) {
    const auto result =
        linear_cross_entropy_cuda->run(hidden.to(type).contiguous(), weight.to(type).contiguous(),
                                       targets.contiguous(), with_gradient);
    const auto inverse_count = targets.ne(kIgnoredTarget).sum().to(at::kFloat).reciprocal();
    if (with_gradient) {
      ctx->save_for_backward({result.grad_hidden, result.grad_weight, inverse_count});
      ctx->saved_data["hidden"] = hidden.scalar_type();
      ctx->saved_data["weight"] = weight.scalar_type();
    }
    ctx->mark_non_differentiable({result.losses});
    return {result.losses.sum() * inverse_count, result.losses};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const auto factor = (grads[0] * saved[2]).view({1, 1});
    const auto scaled = [&](const at::Tensor& gradient, at::ScalarType type) {
      auto out = at::empty(gradient.sizes(), gradient.options().dtype(type));
      return at::mul_out(out, gradient, factor);
    };
    return {scaled(saved[0], ctx->saved_data["hidden"].toScalarType()),
            scaled(saved[1], ctx->saved_data["weight"].toScalarType()), at::Tensor(), at::Tensor(),
            at::Tensor()};
  }
};

}  // namespace

std::tuple<at::Tensor, at::Tensor> linear_cross_entropy(const at::Tensor& hidden,
                                                        const at::Tensor& weight,
                                                        const at::Tensor& targets) {
  TORCH_CHECK(hidden.dim() == 2 && weight.dim() == 2 && hidden.size(1) == weight.size(1),
              "oasis::linear_cross_entropy: hidden must be [M, D] and weight [V, D], not ",
              hidden.sizes(), " and ", weight.sizes());
  TORCH_CHECK(
      targets.dim() == 1 && targets.size(0) == hidden.size(0) && targets.scalar_type() == at::kLong,
      "oasis::linear_cross_entropy: targets must be int64 [", hidden.size(0), "], not ",
      targets.scalar_type(), " ", targets.sizes());
  if (targets.is_cpu() && targets.numel() > 0) {
    const auto t = targets.contiguous();
    const auto* y = t.const_data_ptr<int64_t>();
    for (int64_t m = 0; m < t.numel(); ++m) {
      TORCH_CHECK(y[m] == kIgnoredTarget || (y[m] >= 0 && y[m] < weight.size(0)),
                  "oasis::linear_cross_entropy: target ", y[m], " at row ", m,
                  " is outside the vocabulary of ", weight.size(0));
    }
  }
  const bool with_gradient =
      at::GradMode::is_enabled() && (hidden.requires_grad() || weight.requires_grad());
  if (hidden.is_cuda() && linear_cross_entropy_cuda != nullptr &&
      linear_cross_entropy_cuda->serves(hidden, weight)) {
    const auto type = at::autocast::is_autocast_enabled(at::kCUDA)
                          ? at::autocast::get_autocast_dtype(at::kCUDA)
                          : hidden.scalar_type();
    const auto out =
        LinearCrossEntropyCudaFunction::apply(hidden, weight, targets, type, with_gradient);
    return {out[0], out[1]};
  }
  const auto out = LinearCrossEntropyFunction::apply(hidden, weight, targets, with_gradient);
  return {out[0], out[1]};
}

}  // namespace oasis

TORCH_LIBRARY_FRAGMENT(oasis, m) {
  m.def(
      "linear_cross_entropy(Tensor hidden, Tensor weight, Tensor targets) -> "
      "(Tensor mean_loss, Tensor token_loss)",
      &oasis::linear_cross_entropy);
}
