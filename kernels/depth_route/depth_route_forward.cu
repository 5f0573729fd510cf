#include "kernels/depth_route/launch_shape.h"
#include "kernels/depth_route/token_rows.cuh"

namespace oasis::cuda {
namespace {

// One block at a time works on one token; a block takes every gridDim.x-th token.
template <typename T>
__global__ void depth_route_forward_kernel(const __grid_constant__ DepthRouteProblem p,
                                           const __grid_constant__ DepthRouteOutputs out,
                                           int resident) {
  constexpr int kVector = kVectorSize<T>;
  extern __shared__ uint4 shared[];
  const int n = p.sources;
  const int extra = direction_slots(p.direction_is_float, sizeof(T));
  TokenRows<T> rows(p, shared, extra, resident);
  BlockSums sums(reinterpret_cast<float*>(shared + (extra + resident) * blockDim.x), n,
                 p.normalize_keys ? 2 : 1);
  const RowNormalizer normalizer{p.normalizer, p.zeta, p.gamma};
  const float beta = p.beta == nullptr ? 0.0F : *p.beta;
  const Row bias = load_row(p.logit_bias, n, 1);

  int64_t m = blockIdx.x;
  rows.fetch_direction(p.shared_direction ? 0 : m);
  for (int i = 0; i < n; ++i) rows.fetch_source(i, m);

  for (; m < p.tokens; m += gridDim.x) {
    const Row nulls = centred_nulls(p, m);
    copy_async_wait();
    float u[kVector];
    rows.direction(u);
    for (int first = 0; first < n; first += kSourceGroup) {
      float dots[kSourceGroup] = {}, squares[kSourceGroup] = {};
#pragma unroll
      for (int j = 0; j < kSourceGroup; ++j) {
        if (first + j >= n) continue;
        float y[kVector];
        to_floats<T>(rows.source(first + j, m), y);
#pragma unroll
        for (int e = 0; e < kVector; ++e) dots[j] += u[e] * y[e];
        if (!p.normalize_keys) continue;
#pragma unroll
        for (int e = 0; e < kVector; ++e) squares[j] += y[e] * y[e];
      }
      sums.add(0, first, dots);
      if (p.normalize_keys) sums.add(1, first, squares);
    }
    __syncthreads();

    Row logits = map(sums.total(0), [&](float dot) { return p.scale * dot; });
    Row key_scale{1, 1};
    if (p.normalize_keys) {
      const float size = static_cast<float>(p.hidden_size);
      key_scale = map(sums.total(1), [&](float s) { return 1.0F / sqrtf(s / size + p.eps); });
      logits = map(logits, key_scale, [](float g, float r) { return g * r; });
    }
    sums.next();
    logits = map(logits, bias, [](float g, float b) { return g + b; });
    logits = map(logits, nulls, [=](float g, float x) { return g - beta * x; });
    const Row weights = normalizer.forward(pad_row(map(logits, clamp_logit), n, -INFINITY));
    if (threadIdx.x < kWarpSize) {
      store_row(out.weights + m * n, n, 1, weights);
      store_row(out.logits + m * n, n, 1, logits);
      if (p.normalize_keys) store_row(out.key_scale + m * n, n, 1, key_scale);
    }

    const int64_t next = m + gridDim.x;
    const bool more = next < p.tokens;
    if (more && !p.shared_direction) rows.fetch_direction(next);
    float sum[kVector] = {};
#pragma unroll 4
    for (int i = 0; i < n; ++i) {
      const float weight = weights.at(i);
      float y[kVector];
      to_floats<T>(rows.source(i, m), y);
#pragma unroll
      for (int e = 0; e < kVector; ++e) sum[e] += weight * y[e];
      if (more) rows.fetch_source(i, next);
    }
    if (rows.active()) static_cast<uint4*>(out.routed)[rows.offset(m)] = from_floats<T>(sum);
  }
}

template <typename T>
void launch(const DepthRouteProblem& p, const DepthRouteOutputs& out, cudaStream_t stream) {
  const auto kernel = depth_route_forward_kernel<T>;
  const auto shape = depth_launch(kernel, p, direction_slots(p.direction_is_float, sizeof(T)),
                                  p.normalize_keys ? 2 : 1);
  kernel<<<shape.blocks, shape.threads, shape.shared_bytes, stream>>>(p, out, shape.resident);
  check_launch("depth_route forward");
}

}  // namespace

bool depth_route_served(int sources, int hidden_size, DepthElement element) {
  const int64_t row = int64_t{hidden_size} * element_size(element);
  return sources <= kMaxDepthSources && row % 16 == 0 && row / 16 <= 1024;
}

void depth_route_forward(const DepthRouteProblem& problem, const DepthRouteOutputs& outputs,
                         cudaStream_t stream) {
  if (problem.tokens == 0) return;
  switch (problem.element) {
    case DepthElement::kFloat32:
      return launch<float>(problem, outputs, stream);
    case DepthElement::kBfloat16:
      return launch<__nv_bfloat16>(problem, outputs, stream);
    case DepthElement::kFloat16:
      return launch<__half>(problem, outputs, stream);
  }
}

}  // namespace oasis::cuda
