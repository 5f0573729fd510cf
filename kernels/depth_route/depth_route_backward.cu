#include "kernels/depth_route/launch_shape.h"
#include "kernels/depth_route/token_rows.cuh"

namespace oasis::cuda {
namespace {

// A token's rows of floats.
template <int kParts>
struct TokenFloats {
  Row<kParts> nulls, logits, weights, grad_weights, key_scale;

  __device__ TokenFloats(const RowEntries<kParts>& entries, const DepthRouteProblem& p,
                         const DepthRouteGradientInputs& in, int64_t m) {
    const auto load = [&](const float* rows) {
      return entries.load(rows == nullptr ? nullptr : rows + m * p.sources, 1);
    };
    nulls = entries.load(p.nulls == nullptr ? nullptr : p.nulls + m, p.tokens);
    logits = load(in.logits);
    weights = load(in.weights);
    grad_weights = load(in.grad_weights);
    key_scale = load(in.key_scale);
  }
};

// As the forward kernel: dots of every source with dR (and with u, for normalised keys), the
// normaliser's backward, then every source's gradient, all while the token's rows are on chip.
// Sums over tokens are kept by the block that took those tokens: the direction's by element, in
// float32; the bias's and β's by the first warp, in float64.
template <typename T, int kVectors, bool kSmall>
__global__ void __maxnreg__(kDepthRegisters<kVectors>)
    depth_route_backward_kernel(const __grid_constant__ DepthRouteProblem p,
                                const __grid_constant__ DepthRouteGradientInputs in,
                                const __grid_constant__ DepthRouteGradientOutputs out,
                                int resident) {
  constexpr int kElements = kVectorSize<T>;
  constexpr int kParts = kSmall ? 1 : 2;
  constexpr int kGroup = kVectors <= 2 ? 4 : 2;  // as registers allow
  extern __shared__ uint4 shared[];
  const int n = p.sources;
  const int grad_slot = direction_slots(p.direction_is_float, sizeof(T));
  const int extra = grad_slot + 1;
  TokenRows<T, kVectors, kSmall> rows(p, shared, extra, resident);
  BlockSums<kParts> sums(
      reinterpret_cast<float*>(shared + (extra + resident) * blockDim.x * kVectors), n,
      p.normalize_keys ? 2 : 1);
  const RowNormalizer<kParts> normalizer{p.normalizer, p.zeta, p.gamma};
  const RowEntries<kParts> entries(n);
  const float beta = p.beta == nullptr ? 0.0F : *p.beta;
  const bool first_warp = threadIdx.x < kWarpSize;
  const bool writes_sources = out.grad_values[0] != nullptr;
  const bool reads_direction = p.normalize_keys || writes_sources;
  const Row<kParts> bias_factor = bias_factors(entries, p);
  double bias_sum[kParts] = {}, beta_sum = 0;
  float direction_sum[kVectors][kElements] = {};

  int64_t m = blockIdx.x, offset = rows.offset(m);
  if (reads_direction) rows.fetch_direction(p.shared_direction ? 0 : m);
  if (in.grad_routed != nullptr) rows.fetch_extra(grad_slot, in.grad_routed, m);
  for (int i = 0; i < n; ++i) rows.fetch_source(i, offset);
  TokenFloats<kParts> token(entries, p, in, m);

  while (m < p.tokens) {
    const int64_t next = m + gridDim.x, next_offset = rows.offset(next);
    const bool more = next < p.tokens;
    copy_async_wait();
    float grad[kVectors][kElements] = {};
    if (in.grad_routed != nullptr) {
#pragma unroll
      for (int v = 0; v < kVectors; ++v) to_floats<T>(rows.extra(grad_slot, v), grad[v]);
    }
    const auto take_products = [&]<bool kNormalize>(std::bool_constant<kNormalize>) {
      for_source_groups<kGroup>(n, [&]<int kCount>(int first, std::integral_constant<int, kCount>) {
        uint4 raw[kCount][kVectors];
        float dots[kCount] = {}, products[kCount] = {};
#pragma unroll
        for (int j = 0; j < kCount; ++j) rows.source(first + j, offset, raw[j]);
#pragma unroll
        for (int v = 0; v < kVectors; ++v) {
          float u[kElements];
          if (kNormalize) rows.direction(v, u);
#pragma unroll
          for (int j = 0; j < kCount; ++j) {
            float y[kElements];
            to_floats<T>(raw[j][v], y);
#pragma unroll
            for (int e = 0; e < kElements; ++e) {
              dots[j] += grad[v][e] * y[e];
              if (kNormalize) products[j] += u[e] * y[e];
            }
          }
        }
        sums.add(0, first, dots);
        if (kNormalize) sums.add(1, first, products);
      });
    };
    if (p.normalize_keys) {
      take_products(std::true_type());
    } else {
      take_products(std::false_type());
    }
    __syncthreads();

    const auto grad_alpha =
        map(sums.total(0), token.grad_weights, [](float a, float b) { return a + b; });
    const auto clamped = entries.pad(map(token.logits, clamp_logit), -INFINITY);
    // The gradient passes at the bound; NaN stays.
    const auto gamma =
        entries.pad(map(normalizer.backward(clamped, token.weights, grad_alpha), token.logits,
                        [](float g, float s) { return fabsf(s) > kLogitClamp ? 0.0F : g; }),
                    0.0F);
    // ∂g/∂y = scale·(r u − r³ (u·y) y / D)
    auto towards_u = map(gamma, [&](float g) { return g * p.scale; });
    Row<kParts> towards_y;
    if (p.normalize_keys) {
      const float size = static_cast<float>(p.hidden_size);
      towards_u = map(towards_u, token.key_scale, [](float g, float r) { return g * r; });
      const auto shrink = map(token.key_scale, sums.total(1),
                              [=](float r, float product) { return -r * r * product / size; });
      towards_y = map(towards_u, shrink, [](float a, float b) { return a * b; });
    }
    sums.next();
    if (first_warp) {
#pragma unroll
      for (int k = 0; k < kParts; ++k) bias_sum[k] += gamma.part[k] * bias_factor.part[k];
      if (p.nulls != nullptr) {
        const auto nulls = centred(entries, token.nulls);
#pragma unroll
        for (int k = 0; k < kParts; ++k) {
          beta_sum -= static_cast<double>(gamma.part[k]) * nulls.part[k];
        }
        if (out.grad_nulls != nullptr) {
          const auto grad_nulls = map(centred(entries, gamma), [=](float g) { return -beta * g; });
          entries.store(out.grad_nulls + m, p.tokens, grad_nulls);
        }
      }
      if (out.towards_u != nullptr) entries.store(out.towards_u + m * n, 1, towards_u);
      if (out.towards_y != nullptr) entries.store(out.towards_y + m * n, 1, towards_y);
    }

    const auto weights = token.weights;
    if (more) token = TokenFloats<kParts>(entries, p, in, next);
    float grad_u[kVectors][kElements] = {};
    const auto add_up = [&]<bool kWrite>(std::bool_constant<kWrite>) {
      for_source_groups<kGroup>(n, [&]<int kCount>(int first, std::integral_constant<int, kCount>) {
        uint4 raw[kCount][kVectors];
#pragma unroll
        for (int j = 0; j < kCount; ++j) rows.source(first + j, offset, raw[j]);
        if (more) {
#pragma unroll
          for (int j = 0; j < kCount; ++j) rows.fetch_source(first + j, next_offset);
        }
#pragma unroll
        for (int j = 0; j < kCount; ++j) {
          const float a = towards_u.at(first + j);
#pragma unroll
          for (int v = 0; v < kVectors; ++v) add_scaled<T>(a, raw[j][v], grad_u[v]);
          if constexpr (kWrite) {
            const float weight = weights.at(first + j), b = towards_y.at(first + j);
#pragma unroll
            for (int v = 0; v < kVectors; ++v) {
              float u[kElements], grad_y[kElements] = {};
              rows.direction(v, u);
              if (in.grad_routed != nullptr) {
                add_scaled<T>(weight, rows.extra(grad_slot, v), grad_y);
              }
#pragma unroll
              for (int e = 0; e < kElements; ++e) grad_y[e] += a * u[e];
              if (p.normalize_keys) add_scaled<T>(b, raw[j][v], grad_y);
              if (!rows.active(v)) continue;
              static_cast<uint4*>(out.grad_values[first + j])[offset + v * kWarpSize] =
                  from_floats<T>(grad_y);
            }
          }
        }
      });
    };
    if (writes_sources) {
      add_up(std::true_type());
    } else {
      add_up(std::false_type());
    }
    if (more && in.grad_routed != nullptr) rows.fetch_extra(grad_slot, in.grad_routed, next);
    if (more && reads_direction && !p.shared_direction) rows.fetch_direction(next);
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      if (p.shared_direction) {
#pragma unroll
        for (int e = 0; e < kElements; ++e) direction_sum[v][e] += grad_u[v][e];
      } else if (rows.active(v)) {
        store_direction<T>(out.grad_direction, p.direction_is_float, offset + v * kWarpSize,
                           grad_u[v]);
      }
    }
    m = next;
    offset = next_offset;
  }

  if (p.shared_direction) {
    float* to = out.direction_partials + static_cast<int64_t>(blockIdx.x) * p.hidden_size;
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      if (!rows.active(v)) continue;
#pragma unroll
      for (int e = 0; e < kElements; ++e) to[rows.in_row(v) * kElements + e] = direction_sum[v][e];
    }
  }
  if (first_warp && out.logit_partials != nullptr) {
    const int columns = bias_columns(p);
    double* to = out.logit_partials + static_cast<int64_t>(blockIdx.x) * (columns + 1);
    double line_sum = 0;
#pragma unroll
    for (int k = 0; k < kParts; ++k) {
      line_sum += bias_sum[k];
      if (!p.bias_is_line && entries.has(k)) to[entries.lane + k * kWarpSize] = bias_sum[k];
    }
    if (p.bias_is_line) line_sum = warp_sum(line_sum);
    beta_sum = warp_sum(beta_sum);
    if (entries.lane == 0) {
      if (p.bias_is_line) to[0] = line_sum;
      to[columns] = beta_sum;
    }
  }
}

constexpr int kReduceRows = 32;

// The thread's part of a column of [rows, columns].
template <typename Partial>
__device__ inline double column_part(const Partial* partials, int rows, int columns, int column) {
  double sum = 0;
#pragma unroll 8
  for (int row = static_cast<int>(threadIdx.y); row < rows; row += kReduceRows) {
    sum += static_cast<double>(__ldg(partials + static_cast<int64_t>(row) * columns + column));
  }
  return sum;
}

// The sums over blocks, in float64. Grid: a block of threads [32, kReduceRows] for each 32 columns
// of the direction, then for each 32 of the logits' sums.
template <typename T>
__global__ void __launch_bounds__(kWarpSize* kReduceRows)
    depth_route_reduce_kernel(const __grid_constant__ DepthRouteProblem p,
                              const __grid_constant__ DepthRouteGradientOutputs out, int blocks,
                              int direction_blocks) {
  __shared__ double partial[kReduceRows][kWarpSize + 1];
  const bool of_direction = static_cast<int>(blockIdx.x) < direction_blocks;
  const int columns = of_direction ? p.hidden_size : bias_columns(p) + 1;
  const int block = static_cast<int>(blockIdx.x) - (of_direction ? 0 : direction_blocks);
  const int column = block * kWarpSize + static_cast<int>(threadIdx.x);
  double sum = 0;
  if (column < columns) {
    sum = of_direction ? column_part(out.direction_partials, blocks, columns, column)
                       : column_part(out.logit_partials, blocks, columns, column);
  }
  partial[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || column >= columns) return;
  double total = 0;
#pragma unroll
  for (int row = 0; row < kReduceRows; ++row) total += partial[row][threadIdx.x];
  const auto result = static_cast<float>(total);
  if (!of_direction) {
    if (column + 1 < columns) {
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

// Calls function(kernel, shape).
template <typename T, typename Function>
auto with_kernel(const DepthRouteProblem& p, const Function& function) {
  const int extra = direction_slots(p.direction_is_float, sizeof(T)) + 1;
  return with_depth_shape(
      p, extra, [&]<int kVectors, bool kSmall>(DepthShape<kVectors, kSmall> shape) {
        return function(depth_route_backward_kernel<T, kVectors, kSmall>, shape);
      });
}

template <typename T>
int blocks_of(const DepthRouteProblem& p) {
  return with_kernel<T>(
      p, [&](auto kernel, const auto& shape) { return resident_blocks(kernel, shape, p.tokens); });
}

template <typename T>
void launch(const DepthRouteProblem& p, const DepthRouteGradientInputs& in,
            const DepthRouteGradientOutputs& out, int blocks, cudaStream_t stream) {
  with_kernel<T>(p, [&](auto kernel, const auto& shape) {
    kernel<<<blocks, shape.threads, shape.shared_bytes, stream>>>(p, in, out, shape.resident);
  });
  check_launch("depth_route backward");
  const int direction_blocks =
      out.direction_partials == nullptr ? 0 : (p.hidden_size + kWarpSize - 1) / kWarpSize;
  const int logit_blocks =
      out.logit_partials == nullptr ? 0 : (bias_columns(p) + kWarpSize) / kWarpSize;
  if (direction_blocks + logit_blocks == 0) return;
  depth_route_reduce_kernel<T>
      <<<direction_blocks + logit_blocks, dim3(kWarpSize, kReduceRows), 0, stream>>>(
          p, out, blocks, direction_blocks);
  check_launch("depth_route reduction");
}

}  // namespace

int depth_route_backward_blocks(const DepthRouteProblem& problem) {
  int blocks = 0;
  dispatch_element(problem.element, [&]<class T>() { blocks = blocks_of<T>(problem); });
  return blocks;
}

void depth_route_backward(const DepthRouteProblem& problem, const DepthRouteGradientInputs& inputs,
                          const DepthRouteGradientOutputs& outputs, int blocks,
                          cudaStream_t stream) {
  if (problem.tokens == 0) return;
  dispatch_element(problem.element,
                   [&]<class T>() { launch<T>(problem, inputs, outputs, blocks, stream); });
}

}  // namespace oasis::cuda
