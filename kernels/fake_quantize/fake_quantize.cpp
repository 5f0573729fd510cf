#include "kernels/fake_quantize/fake_quantize.h"

#include <ATen/Dispatch.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/logical_and.h>
#include <ATen/ops/round.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "kernels/autograd.h"
#include "kernels/fake_quantize/fake_quantize_cuda.h"
#include "kernels/parallel.h"

namespace oasis {

const FakeQuantizeCuda* fake_quantize_cuda = nullptr;

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

constexpr std::int64_t kValuesPerTask = 16384;
constexpr double kSmallestScale = 1e-12;

using Grid = FakeQuantizeGrid;

template <class T>
struct TypedGrid {
  explicit TypedGrid(const Grid& grid)
      : scale(static_cast<T>(grid.scale)),
        zero(static_cast<T>(grid.zero)),
        lowest(static_cast<T>(grid.lowest)),
        highest(static_cast<T>(grid.highest)) {}

  T code(T value) const { return std::rint(value / scale) + zero; }
  T value(T code) const {
    const T clamped = code < lowest ? lowest : (code > highest ? highest : code);
    return (clamped - zero) * scale;
  }
  bool holds(T code) const { return code >= lowest && code <= highest; }

  T scale, zero, lowest, highest;
};

// The grid comes by value: behind a reference, every store might change it.
template <class T>
void quantize_values(TypedGrid<T> grid, const T* x, T* out, std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) out[i] = grid.value(grid.code(x[i]));
}

template <class T>
void pass_gradient(TypedGrid<T> grid, const T* x, const T* grad, T* out, std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) out[i] = grid.holds(grid.code(x[i])) ? grad[i] : T(0);
}

at::Tensor quantize_cpu(const at::Tensor& x, const Grid& grid) {
  auto out = at::empty_like(x);
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "oasis::fake_quantize", [&] {
    const auto* from = x.const_data_ptr<scalar_t>();
    auto* to = out.mutable_data_ptr<scalar_t>();
    parallel_elements(x.numel(), kValuesPerTask, [&](std::int64_t begin, std::int64_t end) {
      quantize_values(TypedGrid<scalar_t>(grid), from + begin, to + begin, end - begin);
    });
  });
  return out;
}

at::Tensor gradient_cpu(const at::Tensor& x, const at::Tensor& grad, const Grid& grid) {
  auto out = at::empty_like(x);
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "oasis::fake_quantize_backward", [&] {
    const auto* from = x.const_data_ptr<scalar_t>();
    const auto* upstream = grad.const_data_ptr<scalar_t>();
    auto* to = out.mutable_data_ptr<scalar_t>();
    parallel_elements(x.numel(), kValuesPerTask, [&](std::int64_t begin, std::int64_t end) {
      pass_gradient(TypedGrid<scalar_t>(grid), from + begin, upstream + begin, to + begin,
                    end - begin);
    });
  });
  return out;
}

at::Tensor codes(const at::Tensor& x, const Grid& grid) {
  return at::round(x / grid.scale) + grid.zero;
}

void save_grid(AutogradContext* context, const Grid& grid) {
  context->saved_data["scale"] = grid.scale;
  context->saved_data["zero"] = grid.zero;
  context->saved_data["lowest"] = grid.lowest;
  context->saved_data["highest"] = grid.highest;
}

Grid saved_grid(AutogradContext* context) {
  return {context->saved_data["scale"].toDouble(), context->saved_data["zero"].toDouble(),
          context->saved_data["lowest"].toDouble(), context->saved_data["highest"].toDouble()};
}

struct FakeQuantizeFunction : torch::autograd::Function<FakeQuantizeFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input, const Grid& grid) {
    const auto x = in_compute_type(input);
    context->save_for_backward({input});
    save_grid(context, grid);
    const auto out =
        x.is_cpu()
            ? quantize_cpu(x, grid)
            : (at::clamp(codes(x, grid), grid.lowest, grid.highest) - grid.zero) * grid.scale;
    return out.to(input.scalar_type());
  }

  static tensor_list backward(AutogradContext* context, const tensor_list& grads) {
    if (!grads[0].defined()) return {{}, {}};
    const auto input = context->get_saved_variables()[0];
    const auto x = in_compute_type(input);
    const auto grad = in_compute_type(grads[0]);
    const auto grid = saved_grid(context);
    if (x.is_cpu()) return {gradient_cpu(x, grad, grid).to(input.scalar_type()), {}};
    const auto code = codes(x, grid);
    const auto inside = at::logical_and(code >= grid.lowest, code <= grid.highest);
    return {(grad * inside).to(input.scalar_type()), {}};
  }
};

// With `largest` the scale is the device's own.
struct FakeQuantizeCudaFunction : torch::autograd::Function<FakeQuantizeCudaFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input, const Grid& grid,
                            const std::optional<at::Tensor>& largest) {
    const auto x = input.contiguous();
    context->save_for_backward({x, largest.value_or(at::Tensor())});
    save_grid(context, grid);
    return fake_quantize_cuda->run(x, {}, grid, largest.value_or(at::Tensor())).view(input.sizes());
  }

  static tensor_list backward(AutogradContext* context, const tensor_list& grads) {
    if (!grads[0].defined()) return {{}, {}, {}};
    const auto saved = context->get_saved_variables();
    return {fake_quantize_cuda->run(saved[0], grads[0].contiguous(), saved_grid(context), saved[1]),
            {},
            {}};
  }
};

bool cuda_serves_quantizer(const at::Tensor& x) {
  return x.is_cuda() && fake_quantize_cuda != nullptr && x.scalar_type() != at::kDouble;
}

void check_argument(const char* name, const char* argument, const at::Tensor& x, int64_t bits) {
  TORCH_CHECK(at::isFloatingType(x.scalar_type()), name, ": ", argument,
              " must have a floating type, not ", x.scalar_type());
  TORCH_CHECK(bits >= 2 && bits <= 16, name, ": bits must lie between 2 and 16, got ", bits);
}

}  // namespace

at::Tensor fake_quantize(const at::Tensor& x, double lo, double hi, int64_t bits) {
  check_argument("oasis::fake_quantize", "x", x, bits);
  TORCH_CHECK(std::isfinite(lo) && std::isfinite(hi) && lo <= hi,
              "oasis::fake_quantize: the range must be finite with lo <= hi, got [", lo, ", ", hi,
              "]");
  lo = std::min(lo, 0.0);
  hi = std::max(hi, 0.0);
  Grid grid;
  grid.highest = std::ldexp(1.0, static_cast<int>(bits)) - 1;
  grid.scale = std::max((hi - lo) / grid.highest, kSmallestScale);
  grid.zero = std::nearbyint(-lo / grid.scale);
  if (cuda_serves_quantizer(x)) return FakeQuantizeCudaFunction::apply(x, grid, std::nullopt);
  return FakeQuantizeFunction::apply(x, grid);
}

at::Tensor fake_quantize_weight(const at::Tensor& weight, int64_t bits) {
  check_argument("oasis::fake_quantize_weight", "weight", weight, bits);
  if (weight.numel() == 0) return weight;
  Grid grid;
  grid.lowest = -std::ldexp(1.0, static_cast<int>(bits) - 1);
  grid.highest = -grid.lowest - 1;
  if (cuda_serves_quantizer(weight)) {
    const auto largest = fake_quantize_cuda->largest_magnitude(weight.detach().contiguous());
    return FakeQuantizeCudaFunction::apply(weight, grid, std::optional(largest));
  }
  const auto largest = weight.detach().abs().max().item<double>();
  grid.scale = largest == 0 ? 1 : largest / grid.highest;
  return FakeQuantizeFunction::apply(weight, grid);
}

TORCH_LIBRARY_FRAGMENT(oasis, library) {
  const auto key = c10::DispatchKey::CompositeImplicitAutograd;
  library.def("fake_quantize(Tensor x, float lo, float hi, int bits) -> Tensor",
              torch::dispatch(key, fake_quantize));
  library.def("fake_quantize_weight(Tensor weight, int bits) -> Tensor",
              torch::dispatch(key, fake_quantize_weight));
  library.def("percentile_range(Tensor x, float lower, float upper) -> Tensor",
              torch::dispatch(key, percentile_range));
}

}  // namespace oasis
