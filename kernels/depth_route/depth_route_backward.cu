#include "kernels/depth_route/launch_shape.h"
#include "kernels/depth_route/token_rows.cuh"

namespace oasis::cuda {
namespace {

// As the forward kernel: dots of every source with dR (and with u, for normalised keys), the
// normaliser's backward, then every source's gradient, all while the token's rows are on chip.
// Sums over tokens are kept by the block that took those tokens: the direction's by element, in
// float32; the bias's and β's by the first warp, in float64.
template <typename T>
__global__ void depth_route_backward_kernel(const __grid_constant__ DepthRouteProblem p,
                                            const __grid_constant__ DepthRouteGradientInputs in,
                                            const __grid_constant__ DepthRouteGradientOutputs out,
                                            int resident) {
  constexpr int kVector = kVectorSize<T>;
  extern __shared__ uint4 shared[];
  const int n = p.sources;
  const int grad_slot = direction_slots(p.direction_is_float, sizeof(T));
  const int extra = grad_slot + 1;
  TokenRows<T> rows(p, shared, extra, resident);
  BlockSums sums(reinterpret_cast<float*>(shared + (extra + resident) * blockDim.x), n,
                 p.normalize_keys ? 2 : 1);
  const RowNormalizer normalizer{p.normalizer, p.zeta, p.gamma};
  const float beta = p.beta == nullptr ? 0.0F : *p.beta;
  const bool first_warp = threadIdx.x < kWarpSize;
  double bias_low = 0, bias_high = 0, beta_sum = 0;
  float direction_sum[kVector] = {};

  int64_t m = blockIdx.x;
  rows.fetch_direction(p.shared_direction ? 0 : m);
  if (in.grad_routed != nullptr) rows.fetch_extra(grad_slot, in.grad_routed, m);
  for (int i = 0; i < n; ++i) rows.fetch_source(i, m);

  for (; m < p.tokens; m += gridDim.x) {
    const Row nulls = centred_nulls(p, m);
    const Row logits = load_row(in.logits + m * n, n, 1);
    const Row weights = load_row(in.weights + m * n, n, 1);
    const Row grad_outside =
        load_row(in.grad_weights == nullptr ? nullptr : in.grad_weights + m * n, n, 1);
    const Row key_scale = load_row(p.normalize_keys ? in.key_scale + m * n : nullptr, n, 1);
    copy_async_wait();
    float u[kVector], grad[kVector] = {};
    rows.direction(u);
    if (in.grad_routed != nullptr) to_floats<T>(rows.extra(grad_slot), grad);
    for (int first = 0; first < n; first += kSourceGroup) {
      float dots[kSourceGroup] = {}, products[kSourceGroup] = {};
#pragma unroll
      for (int j = 0; j < kSourceGroup; ++j) {
        if (first + j >= n) continue;
        float y[kVector];
        to_floats<T>(rows.source(first + j, m), y);
#pragma unroll
        for (int e = 0; e < kVector; ++e) dots[j] += grad[e] * y[e];
        if (!p.normalize_keys) continue;
#pragma unroll
        for (int e = 0; e < kVector; ++e) products[j] += u[e] * y[e];
      }
      sums.add(0, first, dots);
      if (p.normalize_keys) sums.add(1, first, products);
    }
    __syncthreads();

    const Row grad_alpha = map(sums.total(0), grad_outside, [](float a, float b) { return a + b; });
    const Row clamped = pad_row(map(logits, clamp_logit), n, -INFINITY);
    // The gradient passes at the bound; NaN stays.
    const Row gamma =
        pad_row(map(normalizer.backward(clamped, weights, grad_alpha), logits,
                    [](float g, float s) { return fabsf(s) > kLogitClamp ? 0.0F : g; }),
                n, 0.0F);
    // ∂g/∂y = scale·(r u − r³ (u·y) y / D)
    Row towards_u = map(gamma, [&](float g) { return g * p.scale; });
    Row towards_y{0, 0};
    if (p.normalize_keys) {
      const float size = static_cast<float>(p.hidden_size);
      towards_u = map(towards_u, key_scale, [](float g, float r) { return g * r; });
      const Row shrink = map(key_scale, sums.total(1),
                             [=](float r, float product) { return -r * r * product / size; });
      towards_y = map(towards_u, shrink, [](float a, float b) { return a * b; });
    }
    sums.next();
    if (first_warp) {
      bias_low += gamma.low;
      bias_high += gamma.high;
      beta_sum -=
          static_cast<double>(gamma.low) * nulls.low + static_cast<double>(gamma.high) * nulls.high;
      if (out.grad_nulls != nullptr) {
        const float mean = row_sum(gamma) / static_cast<float>(n);
        store_row(out.grad_nulls + m, n, p.tokens,
                  map(gamma, [=](float g) { return -beta * (g - mean); }));
      }
      if (out.towards_u != nullptr) store_row(out.towards_u + m * n, n, 1, towards_u);
      if (out.towards_y != nullptr) store_row(out.towards_y + m * n, n, 1, towards_y);
    }

    const int64_t next = m + gridDim.x;
    const bool more = next < p.tokens;
    if (more && !p.shared_direction) rows.fetch_direction(next);
    if (more && in.grad_routed != nullptr) rows.fetch_extra(grad_slot, in.grad_routed, next);
    float grad_u[kVector] = {};
#pragma unroll 2
    for (int i = 0; i < n; ++i) {
      const float weight = weights.at(i), a = towards_u.at(i);
      float y[kVector];
      to_floats<T>(rows.source(i, m), y);
      if (more) rows.fetch_source(i, next);
#pragma unroll
      for (int e = 0; e < kVector; ++e) grad_u[e] += a * y[e];
      if (out.grad_values[i] == nullptr) continue;
      float grad_y[kVector];
#pragma unroll
      for (int e = 0; e < kVector; ++e) grad_y[e] = weight * grad[e] + a * u[e];
      if (p.normalize_keys) {
        const float b = towards_y.at(i);
#pragma unroll
        for (int e = 0; e < kVector; ++e) grad_y[e] += b * y[e];
      }
      if (rows.active()) {
        static_cast<uint4*>(out.grad_values[i])[rows.offset(m)] = from_floats<T>(grad_y);
      }
    }
    if (p.shared_direction) {
#pragma unroll
      for (int e = 0; e < kVector; ++e) direction_sum[e] += grad_u[e];
    } else if (out.grad_direction != nullptr && rows.active()) {
      if (sizeof(T) == 2 && p.direction_is_float) {
        auto* to = static_cast<float4*>(out.grad_direction) + 2 * rows.offset(m);
        to[0] = {grad_u[0], grad_u[1], grad_u[2], grad_u[3]};
        to[1] = {grad_u[kVector - 4], grad_u[kVector - 3], grad_u[kVector - 2],
                 grad_u[kVector - 1]};
      } else {
        static_cast<uint4*>(out.grad_direction)[rows.offset(m)] = from_floats<T>(grad_u);
      }
    }
  }

  if (p.shared_direction && out.direction_partials != nullptr && rows.active()) {
    float* to = out.direction_partials + static_cast<int64_t>(blockIdx.x) * p.hidden_size +
                threadIdx.x * kVector;
#pragma unroll
    for (int e = 0; e < kVector; ++e) to[e] = direction_sum[e];
  }
  if (first_warp && out.logit_partials != nullptr) {
    const int lane = static_cast<int>(threadIdx.x);
    double* to = out.logit_partials + static_cast<int64_t>(blockIdx.x) * (n + 1);
    if (lane < n) to[lane] = bias_low;
    if (lane + kWarpSize < n) to[lane + kWarpSize] = bias_high;
    beta_sum = warp_sum(beta_sum);
    if (lane == 0) to[n] = beta_sum;
  }
}

constexpr int kReduceRows = 32;

// The sums over blocks, in float64. Grid: a block of threads [32, kReduceRows] for each 32 columns
// of the direction, then for each 32 of the logits' sums.
template <typename T>
__global__ void depth_route_reduce_kernel(const __grid_constant__ DepthRouteProblem p,
                                          const __grid_constant__ DepthRouteGradientOutputs out,
                                          int blocks, int direction_blocks) {
  __shared__ double partial[kReduceRows][kWarpSize + 1];
  const bool of_direction = static_cast<int>(blockIdx.x) < direction_blocks;
  const int columns = of_direction ? p.hidden_size : p.sources + 1;
  const int block = static_cast<int>(blockIdx.x) - (of_direction ? 0 : direction_blocks);
  const int column = block * kWarpSize + static_cast<int>(threadIdx.x);
  double sum = 0;
  if (column < columns) {
    for (int row = static_cast<int>(threadIdx.y); row < blocks; row += kReduceRows) {
      const int64_t i = static_cast<int64_t>(row) * columns + column;
      sum += of_direction ? static_cast<double>(out.direction_partials[i]) : out.logit_partials[i];
    }
  }
  partial[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || column >= columns) return;
  double total = 0;
  for (int row = 0; row < kReduceRows; ++row) total += partial[row][threadIdx.x];
  const auto result = static_cast<float>(total);
  if (!of_direction) {
    if (column < p.sources) {
      if (out.grad_logit_bias != nullptr) out.grad_logit_bias[column] = result;
    } else if (out.grad_beta != nullptr) {
      *out.grad_beta = result;
    }
  } else if (sizeof(T) == 4 || p.direction_is_float) {
    static_cast<float*>(out.grad_direction)[column] = result;
  } else {
    static_cast<T*>(out.grad_direction)[column] = static_cast<T>(result);
  }
}

template <typename T>
DepthLaunch launch_shape(const DepthRouteProblem& p) {
  return depth_launch(depth_route_backward_kernel<T>, p,
                      direction_slots(p.direction_is_float, sizeof(T)) + 1,
                      p.normalize_keys ? 2 : 1);
}

template <typename T>
void launch(const DepthRouteProblem& p, const DepthRouteGradientInputs& in,
            const DepthRouteGradientOutputs& out, int blocks, cudaStream_t stream) {
  const auto shape = launch_shape<T>(p);
  depth_route_backward_kernel<T>
      <<<blocks, shape.threads, shape.shared_bytes, stream>>>(p, in, out, shape.resident);
  check_launch("depth_route backward");
  const int direction_blocks =
      out.direction_partials == nullptr ? 0 : (p.hidden_size + kWarpSize - 1) / kWarpSize;
  const int logit_blocks = out.logit_partials == nullptr ? 0 : (p.sources + kWarpSize) / kWarpSize;
  if (direction_blocks + logit_blocks == 0) return;
  depth_route_reduce_kernel<T>
      <<<direction_blocks + logit_blocks, dim3(kWarpSize, kReduceRows), 0, stream>>>(
          p, out, blocks, direction_blocks);
  check_launch("depth_route reduction");
}

}  // namespace

int depth_route_backward_blocks(const DepthRouteProblem& problem) {
  switch (problem.element) {
    case DepthElement::kFloat32:
      return launch_shape<float>(problem).blocks;
    case DepthElement::kBfloat16:
      return launch_shape<__nv_bfloat16>(problem).blocks;
    case DepthElement::kFloat16:
      return launch_shape<__half>(problem).blocks;
  }
  return 0;
}

void depth_route_backward(const DepthRouteProblem& problem, const DepthRouteGradientInputs& inputs,
                          const DepthRouteGradientOutputs& outputs, int blocks,
                          cudaStream_t stream) {
  if (problem.tokens == 0) return;
  switch (problem.element) {
    case DepthElement::kFloat32:
      return launch<float>(problem, inputs, outputs, blocks, stream);
    case DepthElement::kBfloat16:
      return launch<__nv_bfloat16>(problem, inputs, outputs, blocks, stream);
    case DepthElement::kFloat16:
      return launch<__half>(problem, inputs, outputs, blocks, stream);
  }
}

}  // namespace oasis::cuda
