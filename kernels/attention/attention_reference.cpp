#include "kernels/attention/attention_reference.h"

#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <vector>

#include "kernels/normalizer/normalizer_reference.h"

namespace oasis::reference {
namespace {

using Values = std::vector<double>;

at::Tensor plain(const at::Tensor& x) {
  return x.detach().to(at::kDouble).contiguous();
}

// Rows of d values of a contiguous [B,heads,T,d] tensor.
struct Rows {
  explicit Rows(const at::Tensor& x)
      : data(x.mutable_data_ptr<double>()), heads(x.size(1)), length(x.size(2)), d(x.size(3)) {}

  double* at(std::int64_t batch, std::int64_t head, std::int64_t t) const {
    return data + ((batch * heads + head) * length + t) * d;
  }

  double* data;
  std::int64_t heads, length, d;
};

double dot(const double* a, const double* b, std::int64_t n) {
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

void add_scaled(double factor, const double* from, double* to, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) to[i] += factor * from[i];
}

}  // namespace

Attention attention(const at::Tensor& q_in, const at::Tensor& k_in, const at::Tensor& v_in,
                    const NormalizerSpec& spec, double scale) {
  const auto q_tensor = plain(q_in), k_tensor = plain(k_in), v_tensor = plain(v_in);
  Attention out{at::zeros_like(q_tensor),
                at::zeros(q_tensor.sizes().slice(0, 3), q_tensor.options())};
  const Rows q(q_tensor), k(k_tensor), v(v_tensor), context(out.context);
  double* null = out.null_posterior.mutable_data_ptr<double>();
  for (std::int64_t b = 0; b < q_tensor.size(0); ++b) {
    for (std::int64_t h = 0; h < q.heads; ++h) {
      const auto kv = h * k.heads / q.heads;
      for (std::int64_t t = 0; t < q.length; ++t) {
        Values scores;
        for (std::int64_t j = 0; j <= t; ++j) {
          scores.push_back(scale * dot(q.at(b, h, t), k.at(b, kv, j), q.d));
        }
        const Row row = normalize(spec, scores);
        for (std::int64_t j = 0; j <= t; ++j) {
          add_scaled(row.probs[j], v.at(b, kv, j), context.at(b, h, t), q.d);
        }
        null[(b * q.heads + h) * q.length + t] = row.null_posterior;
      }
    }
  }
  return out;
}

AttentionGradients attention_backward(const at::Tensor& q_in, const at::Tensor& k_in,
                                      const at::Tensor& v_in, const NormalizerSpec& spec,
                                      double scale, const at::Tensor& grad_context,
                                      const at::Tensor& grad_null) {
  const auto q_tensor = plain(q_in), k_tensor = plain(k_in), v_tensor = plain(v_in);
  const auto out_tensor = plain(grad_context), null_tensor = plain(grad_null);
  AttentionGradients grads{at::zeros_like(q_tensor), at::zeros_like(k_tensor),
                           at::zeros_like(v_tensor)};
  const Rows q(q_tensor), k(k_tensor), v(v_tensor), grad_out(out_tensor);
  const Rows grad_q(grads.q), grad_k(grads.k), grad_v(grads.v);
  const double* null = null_tensor.const_data_ptr<double>();
  for (std::int64_t b = 0; b < q_tensor.size(0); ++b) {
    for (std::int64_t h = 0; h < q.heads; ++h) {
      const auto kv = h * k.heads / q.heads;
      for (std::int64_t t = 0; t < q.length; ++t) {
        Values scores, grad_probs;
        for (std::int64_t j = 0; j <= t; ++j) {
          scores.push_back(scale * dot(q.at(b, h, t), k.at(b, kv, j), q.d));
          grad_probs.push_back(dot(grad_out.at(b, h, t), v.at(b, kv, j), q.d));
        }
        const Row row = normalize(spec, scores);
        const Values grad_scores =
            normalize_backward(spec, scores, grad_probs, null[(b * q.heads + h) * q.length + t]);
        for (std::int64_t j = 0; j <= t; ++j) {
          add_scaled(row.probs[j], grad_out.at(b, h, t), grad_v.at(b, kv, j), q.d);
          add_scaled(scale * grad_scores[j], k.at(b, kv, j), grad_q.at(b, h, t), q.d);
          add_scaled(scale * grad_scores[j], q.at(b, h, t), grad_k.at(b, kv, j), q.d);
        }
      }
    }
  }
  return grads;
}

}  // namespace oasis::reference
