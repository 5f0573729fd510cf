#include "kernels/depth_route/depth_route_cpu.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/depth_route/depth_route.h"
#include "kernels/normalizer/row.h"
#include "kernels/parallel.h"
#include "kernels/vector_loops.h"

namespace oasis {
namespace {

constexpr int64_t kGrain = 16;  // tokens per task: large enough to hide the scheduling

template <typename T>
T mean_null(const DepthRouteProblem<T>& p, int64_t token) {
  T sum = 0;
  for (int64_t i = 0; i < p.sources; ++i) sum += p.nulls[i * p.tokens + token];
  return sum / static_cast<T>(p.sources);
}

}  // namespace

template <typename T>
void depth_route_forward_cpu(const DepthRouteProblem<T>& p, T* routed, T* weights, T* logits,
                             T* key_scale) {
  const int64_t n = p.sources, D = p.hidden_size;
  parallel_rows(p.tokens, kGrain, [&](int64_t begin, int64_t end) {
    std::vector<T> clamped(n);
    for (int64_t m = begin; m < end; ++m) {
      const T* u = p.direction + m * p.direction_stride;
      T* g = logits + m * n;
      const T null_mean = p.nulls ? mean_null(p, m) : T(0);
      for (int64_t i = 0; i < n; ++i) {
        const T* y = p.values[i] + m * D;
        g[i] = p.scale * dot(u, y, D);
        if (p.normalize_keys) {
          const T r = T(1) / std::sqrt(dot(y, y, D) / static_cast<T>(D) + p.eps);
          key_scale[m * n + i] = r;
          g[i] *= r;
        }
        if (p.logit_bias) g[i] += p.logit_bias[i];
        if (p.nulls) g[i] -= p.beta * (p.nulls[i * p.tokens + m] - null_mean);
        clamped[i] =
            std::clamp(g[i], static_cast<T>(-kDepthLogitClamp), static_cast<T>(kDepthLogitClamp));
      }
      T* alpha = weights + m * n;
      normalize_row(p.normalizer, clamped.data(), alpha, n);
      T* out = routed + m * D;
      const T* first = p.values[0] + m * D;
#pragma omp simd
      for (int64_t d = 0; d < D; ++d) out[d] = alpha[0] * first[d];
      for (int64_t i = 1; i < n; ++i) axpy(alpha[i], p.values[i] + m * D, out, D);
    }
  });
}

template <typename T>
void depth_route_backward_cpu(const DepthRouteProblem<T>& p, const DepthRouteBackward<T>& b) {
  const int64_t n = p.sources, D = p.hidden_size;
  const bool shared_direction = p.direction_stride == 0;
  const auto token_range = [&](int64_t begin, int64_t end, T* shared_gradient) {
    std::vector<T> clamped(n), grad_alpha(n), gamma(n);
    // A shared direction's gradient is summed over one token's sources first: rounding then grows
    // with the tokens of a chunk plus the sources, not with their product.
    std::vector<T> own_gradient(shared_direction ? D : 0);
    for (int64_t m = begin; m < end; ++m) {
      const T* u = p.direction + m * p.direction_stride;
      const T* g = b.logits + m * n;
      const T* alpha = b.weights + m * n;
      const T* grad_out = b.grad_routed ? b.grad_routed + m * D : nullptr;
      for (int64_t i = 0; i < n; ++i) {
        clamped[i] =
            std::clamp(g[i], static_cast<T>(-kDepthLogitClamp), static_cast<T>(kDepthLogitClamp));
        grad_alpha[i] = grad_out ? dot(grad_out, p.values[i] + m * D, D) : T(0);
        if (b.grad_weights) grad_alpha[i] += b.grad_weights[m * n + i];
      }
      normalize_row_backward(p.normalizer, clamped.data(), alpha, grad_alpha.data(), T(0),
                             gamma.data(), n);
      T* grad_u = shared_direction ? own_gradient.data() : b.grad_direction + m * D;
      std::fill(grad_u, grad_u + D, T(0));
      for (int64_t i = 0; i < n; ++i) {
        if (std::abs(g[i]) > static_cast<T>(kDepthLogitClamp)) gamma[i] = 0;
        b.grad_logits[m * n + i] = gamma[i];
        const T* y = p.values[i] + m * D;
        // ∂g/∂y = scale·(r u − r³ (u·y) y / D); without normalisation r = 1 and no second term
        T towards_u = gamma[i] * p.scale;
        T towards_y = 0;
        if (p.normalize_keys) {
          const T r = b.key_scale[m * n + i];
          towards_y = -towards_u * r * r * r * dot(u, y, D) / static_cast<T>(D);
          towards_u *= r;
          b.towards_y[m * n + i] = towards_y;
        }
        b.towards_u[m * n + i] = towards_u;
        axpy(towards_u, y, grad_u, D);
        if (!b.grad_values) continue;
        T* grad_y = b.grad_values[i] + m * D;
        if (grad_out) {
          const T a = alpha[i];
#pragma omp simd
          for (int64_t d = 0; d < D; ++d) {
            grad_y[d] = a * grad_out[d] + towards_u * u[d] + towards_y * y[d];
          }
        } else {
#pragma omp simd
          for (int64_t d = 0; d < D; ++d) grad_y[d] = towards_u * u[d] + towards_y * y[d];
        }
      }
      if (shared_direction) axpy(T(1), grad_u, shared_gradient, D);
    }
  };
  if (!shared_direction) {
    parallel_rows(p.tokens, kGrain,
                  [&](int64_t begin, int64_t end) { token_range(begin, end, nullptr); });
    return;
  }
  // Partial sums per chunk of tokens, not per thread: the result does not depend on the threads.
  const int64_t chunks = (p.tokens + b.chunk - 1) / b.chunk;
  parallel_rows(chunks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      token_range(c * b.chunk, std::min(p.tokens, (c + 1) * b.chunk), b.grad_direction + c * D);
    }
  });
}

template <typename T>
void depth_gather_gradient_cpu(const T* value, const std::vector<DepthReader<T>>& readers,
                               int64_t tokens, int64_t hidden_size, T* gradient) {
  const int64_t D = hidden_size;
  at::parallel_for(0, tokens, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t m = begin; m < end; ++m) {
      T* sum = gradient + m * D;
      T towards_value = 0;
      for (const auto& reader : readers) {
        const int64_t i = m * reader.stride;
        const T weight = reader.weights[i], towards_u = reader.towards_u[i];
        const T* u = reader.direction + m * reader.direction_stride;
        if (reader.grad_routed) {
          const T* grad_out = reader.grad_routed + m * D;
#pragma omp simd
          for (int64_t d = 0; d < D; ++d) sum[d] += weight * grad_out[d] + towards_u * u[d];
        } else {
          axpy(towards_u, u, sum, D);
        }
        if (reader.towards_y) towards_value += reader.towards_y[i];
      }
      if (towards_value != 0) axpy(towards_value, value + m * D, sum, D);
    }
  });
}

template void depth_route_forward_cpu<float>(const DepthRouteProblem<float>&, float*, float*,
                                             float*, float*);
template void depth_route_forward_cpu<double>(const DepthRouteProblem<double>&, double*, double*,
                                              double*, double*);
template void depth_route_backward_cpu<float>(const DepthRouteProblem<float>&,
                                              const DepthRouteBackward<float>&);
template void depth_route_backward_cpu<double>(const DepthRouteProblem<double>&,
                                               const DepthRouteBackward<double>&);
template void depth_gather_gradient_cpu<float>(const float*, const std::vector<DepthReader<float>>&,
                                               int64_t, int64_t, float*);
template void depth_gather_gradient_cpu<double>(const double*,
                                                const std::vector<DepthReader<double>>&, int64_t,
                                                int64_t, double*);

}  // namespace oasis
