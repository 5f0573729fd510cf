#include "kernels/depth_route/launch_shape.h"
#include "kernels/depth_route/token_rows.cuh"

namespace oasis::cuda {
namespace {

// One block at a time works on one token; a block takes every gridDim.x-th token.
template <typename T, int kVectors, bool kSmall>
__global__ void __maxnreg__(kDepthRegisters<kVectors>)
    depth_route_forward_kernel(const __grid_constant__ DepthRouteProblem p,
                               const __grid_constant__ DepthRouteOutputs out, int resident) {
  constexpr int kElements = kVectorSize<T>;
  constexpr int kParts = kSmall ? 1 : 2;
  constexpr int kGroup = kVectors <= 2 ? 4 : 2;  // as registers allow
  extern __shared__ uint4 shared[];
  const int n = p.sources;
  const int extra = direction_slots(p.direction_is_float, sizeof(T));
  TokenRows<T, kVectors, kSmall> rows(p, shared, extra, resident);
  BlockSums<kParts> sums(
      reinterpret_cast<float*>(shared + (extra + resident) * blockDim.x * kVectors), n,
      p.normalize_keys ? 2 : 1);
  const RowNormalizer<kParts> normalizer{p.normalizer, p.zeta, p.gamma};
  const RowEntries<kParts> entries(n);
  const float beta = p.beta == nullptr ? 0.0F : *p.beta;
  const Row<kParts> bias = map(entries.load(p.logit_bias, p.bias_is_line ? 0 : 1),
                               bias_factors(entries, p), [](float b, float x) { return b * x; });
  const auto load_nulls = [&](int64_t m) {
    return entries.load(p.nulls == nullptr ? nullptr : p.nulls + m, p.tokens);
  };

  int64_t m = blockIdx.x, offset = rows.offset(m);
  rows.fetch_direction(p.shared_direction ? 0 : m);
  for (int i = 0; i < n; ++i) rows.fetch_source(i, offset);
  Row<kParts> nulls = load_nulls(m);

  while (m < p.tokens) {
    const int64_t next = m + gridDim.x, next_offset = rows.offset(next);
    const bool more = next < p.tokens;
    copy_async_wait();
    const auto take_products = [&]<bool kNormalize>(std::bool_constant<kNormalize>) {
      float u[kVectors][kElements];
#pragma unroll
      for (int v = 0; v < kVectors; ++v) rows.direction(v, u[v]);
      for_source_groups<kGroup>(n, [&]<int kCount>(int first, std::integral_constant<int, kCount>) {
        uint4 raw[kCount][kVectors];
        float dots[kCount] = {}, squares[kCount] = {};
#pragma unroll
        for (int j = 0; j < kCount; ++j) rows.source(first + j, offset, raw[j]);
#pragma unroll
        for (int v = 0; v < kVectors; ++v) {
#pragma unroll
          for (int j = 0; j < kCount; ++j) {
            float y[kElements];
            to_floats<T>(raw[j][v], y);
#pragma unroll
            for (int e = 0; e < kElements; ++e) {
              dots[j] += u[v][e] * y[e];
              if (kNormalize) squares[j] += y[e] * y[e];
            }
          }
        }
        sums.add(0, first, dots);
        if (kNormalize) sums.add(1, first, squares);
      });
    };
    if (p.normalize_keys) {
      take_products(std::true_type());
    } else {
      take_products(std::false_type());
    }
    __syncthreads();

    Row<kParts> logits = map(sums.total(0), [&](float dot) { return p.scale * dot; });
    if (p.normalize_keys) {
      const float size = static_cast<float>(p.hidden_size);
      const auto key_scale =
          map(sums.total(1), [&](float s) { return 1.0F / sqrtf(s / size + p.eps); });
      logits = map(logits, key_scale, [](float g, float r) { return g * r; });
      if (threadIdx.x < kWarpSize) entries.store(out.key_scale + m * n, 1, key_scale);
    }
    sums.next();
    logits = map(logits, bias, [](float g, float b) { return g + b; });
    if (p.nulls != nullptr) {
      logits = map(logits, centred(entries, nulls), [=](float g, float x) { return g - beta * x; });
      if (more) nulls = load_nulls(next);
    }
    const auto weights = normalizer.forward(entries.pad(map(logits, clamp_logit), -INFINITY));
    if (threadIdx.x < kWarpSize) {
      entries.store(out.weights + m * n, 1, weights);
      entries.store(out.logits + m * n, 1, logits);
    }

    if (more && !p.shared_direction) rows.fetch_direction(next);
    float sum[kVectors][kElements] = {};
    for_source_groups<kGroup>(n, [&]<int kCount>(int first, std::integral_constant<int, kCount>) {
      uint4 raw[kCount][kVectors];
      float weight[kCount];
#pragma unroll
      for (int j = 0; j < kCount; ++j) rows.source(first + j, offset, raw[j]);
#pragma unroll
      for (int j = 0; j < kCount; ++j) {
        weight[j] = weights.at(first + j);
        if (more) rows.fetch_source(first + j, next_offset);
      }
#pragma unroll
      for (int j = 0; j < kCount; ++j) {
#pragma unroll
        for (int v = 0; v < kVectors; ++v) add_scaled<T>(weight[j], raw[j][v], sum[v]);
      }
    });
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      if (!rows.active(v)) continue;
      static_cast<uint4*>(out.routed)[offset + v * kWarpSize] = from_floats<T>(sum[v]);
    }
    m = next;
    offset = next_offset;
  }
}

template <typename T>
void launch(const DepthRouteProblem& p, const DepthRouteOutputs& out, cudaStream_t stream) {
  const int extra = direction_slots(p.direction_is_float, sizeof(T));
  with_depth_shape(p, extra, [&]<int kVectors, bool kSmall>(DepthShape<kVectors, kSmall> shape) {
    const auto kernel = depth_route_forward_kernel<T, kVectors, kSmall>;
    const int blocks = resident_blocks(kernel, shape, p.tokens);
    kernel<<<blocks, shape.threads, shape.shared_bytes, stream>>>(p, out, shape.resident);
  });
  check_launch("depth_route forward");
}

}  // namespace

bool depth_route_served(int sources, int hidden_size, ElementType element) {
  const int64_t row = int64_t{hidden_size} * size_of(element);
  return sources <= kMaxDepthSources && row % 16 == 0 && row / 16 <= kMaxDepthVectors;
}

void depth_route_forward(const DepthRouteProblem& problem, const DepthRouteOutputs& outputs,
                         cudaStream_t stream) {
  if (problem.tokens == 0) return;
  dispatch_element(problem.element, [&]<class T>() { launch<T>(problem, outputs, stream); });
}

}  // namespace oasis::cuda
