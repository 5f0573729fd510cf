#include "kernels/rope/rope.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <cmath>
#include <list>
#include <mutex>
#include <utility>
#include <vector>

#include "kernels/dispatch.h"
#include "kernels/parallel.h"

namespace oasis {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// What a table of cosines and sines depends on.
struct Angles {
  double theta;
  int64_t offset;
  std::vector<double> divisors;
  double magnitude;
  int64_t length, half;
  at::ScalarType type;
  at::Device device;

  bool operator==(const Angles&) const = default;
};

struct Table {
  Angles angles;
  at::Tensor cosine, sine;  // [length, half], times the magnitude
};

Table make_table(const Angles& a) {
  auto cosine = at::empty({a.length, a.half}, at::TensorOptions(at::kDouble));
  auto sine = at::empty_like(cosine);
  auto* c = cosine.mutable_data_ptr<double>();
  auto* s = sine.mutable_data_ptr<double>();
  for (int64_t i = 0; i < a.half; ++i) {
    double frequency = std::pow(a.theta, -static_cast<double>(i) / static_cast<double>(a.half));
    if (!a.divisors.empty()) frequency /= a.divisors[static_cast<size_t>(i)];
    for (int64_t t = 0; t < a.length; ++t) {
      const double angle = static_cast<double>(a.offset + t) * frequency;
      c[t * a.half + i] = a.magnitude * std::cos(angle);
      s[t * a.half + i] = a.magnitude * std::sin(angle);
    }
  }
  const auto options = at::TensorOptions(a.device).dtype(a.type);
  return {a, cosine.to(options), sine.to(options)};
}

// Every layer of every step asks for the same angles, so the last few tables are kept.
std::pair<at::Tensor, at::Tensor> table_of(const Angles& angles) {
  constexpr size_t kKept = 8;
  static std::mutex mutex;
  static std::list<Table> tables;
  const std::lock_guard lock(mutex);
  for (auto it = tables.begin(); it != tables.end(); ++it) {
    if (it->angles == angles) {
      tables.splice(tables.begin(), tables, it);
      return {it->cosine, it->sine};
    }
  }
  tables.push_front(make_table(angles));
  if (tables.size() > kKept) tables.pop_back();
  return {tables.front().cosine, tables.front().sine};
}

// direction +1 rotates, −1 rotates back.
at::Tensor rotate_cpu(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine,
                      int direction) {
  const int64_t B = x.size(0), H = x.size(1), T = x.size(2), half = x.size(3) / 2;
  auto y = at::empty_like(x);  // keeps the strides of a dense x
  dispatch_floating(x.scalar_type(), "oasis::rope", [&]<typename scalar_t>() {
    const auto* in = x.const_data_ptr<scalar_t>();
    auto* out = y.mutable_data_ptr<scalar_t>();
    const auto* cos_table = cosine.const_data_ptr<scalar_t>();
    const auto* sin_table = sine.const_data_ptr<scalar_t>();
    const auto sign = static_cast<scalar_t>(direction);
    parallel_rows(B * T, 16, [&](int64_t begin, int64_t end) {
      for (int64_t bt = begin; bt < end; ++bt) {
        const int64_t b = bt / T, t = bt % T;
        const scalar_t* c = cos_table + t * half;
        const scalar_t* s = sin_table + t * half;
        for (int64_t h = 0; h < H; ++h) {
          const scalar_t* row = in + b * x.stride(0) + h * x.stride(1) + t * x.stride(2);
          scalar_t* result = out + b * y.stride(0) + h * y.stride(1) + t * y.stride(2);
#pragma omp simd
          for (int64_t i = 0; i < half; ++i) {
            const scalar_t low = row[i], high = row[i + half], turn = sign * s[i];
            result[i] = low * c[i] - high * turn;
            result[i + half] = high * c[i] + low * turn;
          }
        }
      }
    });
  });
  return y;
}

at::Tensor dense(const at::Tensor& x) {
  return x.stride(-1) == 1 && x.is_non_overlapping_and_dense() ? x : x.contiguous();
}

class RopeFunction : public torch::autograd::Function<RopeFunction> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& cosine,
                            const at::Tensor& sine) {
    ctx->save_for_backward({cosine, sine});
    return rotate_cpu(dense(x), cosine, sine, +1);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto table = ctx->get_saved_variables();
    return {rotate_cpu(dense(grads[0]), table[0], table[1], -1), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor rope(const at::Tensor& x, double theta, int64_t offset, at::ArrayRef<double> divisors,
                double magnitude) {
  TORCH_CHECK(x.dim() == 4 && x.size(3) % 2 == 0,
              "oasis::rope: x must be [B, H, T, d] with d even, not ", x.sizes());
  const int64_t half = x.size(3) / 2;
  TORCH_CHECK(divisors.empty() || std::ssize(divisors) == half,
              "oasis::rope: divisors must hold d/2 = ", half, " numbers, not ", divisors.size());
  const bool wide = x.is_cpu() || x.scalar_type() == at::kDouble;
  const auto [cosine, sine] = table_of({theta, offset, divisors.vec(), magnitude, x.size(2), half,
                                        wide ? x.scalar_type() : at::kFloat, x.device()});
  if (x.is_cpu()) return RopeFunction::apply(x, cosine, sine);
  const auto low = x.narrow(-1, 0, half), high = x.narrow(-1, half, half);
  const std::vector<at::Tensor> parts = {low * cosine - high * sine, high * cosine + low * sine};
  return at::cat(parts, -1).to(x.scalar_type());
}

}  // namespace oasis

TORCH_LIBRARY_FRAGMENT(oasis, m) {
  m.def(
      "rope(Tensor x, float theta, int offset=0, float[] divisors=[], float magnitude=1.0) -> "
      "Tensor",
      &oasis::rope);
}
