#include "kernels/rope/rope.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <iterator>
#include <list>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "kernels/dispatch.h"
#include "kernels/parallel.h"
#include "kernels/rms_norm/rms_norm.h"
#include "kernels/rope/rope_cuda.h"

namespace oasis {

const RopeCuda* rope_cuda = nullptr;

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

// Every layer of every step asks for the same angles, so the last few tables are kept. On a GPU all
// are, since a recorded graph goes on reading them, and few are made: from position 0, for a power
// of two of positions.
std::pair<at::Tensor, at::Tensor> table_of(Angles angles) {
  constexpr size_t kKept = 8;
  static std::mutex mutex;
  static std::list<Table> tables;
  const std::lock_guard lock(mutex);
  const int64_t length = angles.length;
  int64_t skipped = 0;
  if (!angles.device.is_cpu()) {
    skipped = std::exchange(angles.offset, 0);
    angles.length = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(skipped + length)));
  }
  auto found = std::ranges::find(tables, angles, &Table::angles);
  if (found == tables.end()) {
    tables.push_front(make_table(angles));
    found = tables.begin();
    if (angles.device.is_cpu() && tables.size() > kKept) {
      const auto oldest = std::find_if(tables.rbegin(), tables.rend(), [](const Table& table) {
        return table.angles.device.is_cpu();
      });
      tables.erase(std::next(oldest).base());
    }
  } else {
    tables.splice(tables.begin(), tables, found);
  }
  return {found->cosine.narrow(0, skipped, length), found->sine.narrow(0, skipped, length)};
}

// direction +1 rotates, −1 rotates back. `first`: each sequence's row of the tables to begin at.
at::Tensor rotate_cpu(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine,
                      int direction, const int64_t* first = nullptr) {
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
        const int64_t angles = (t + (first == nullptr ? 0 : first[b])) * half;
        const scalar_t* c = cos_table + angles;
        const scalar_t* s = sin_table + angles;
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

class RopeCudaFunction : public torch::autograd::Function<RopeCudaFunction> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x,
                            const std::optional<at::Tensor>& weight, const at::Tensor& cosine,
                            const at::Tensor& sine, double eps) {
    ctx->saved_data["eps"] = eps;
    if (!weight.has_value()) {
      ctx->save_for_backward({cosine, sine});
      return rope_cuda->rotate(x, cosine, sine, +1, {}, eps, {});
    }
    const auto gain = weight->to(at::kFloat).contiguous();
    ctx->save_for_backward({cosine, sine, x, gain});
    return rope_cuda->rotate(x, cosine, sine, +1, gain, eps, {});
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const double eps = ctx->saved_data["eps"].toDouble();
    if (saved.size() == 2) {
      return {rope_cuda->rotate(grads[0], saved[0], saved[1], -1, {}, eps, {}), {}, {}, {}, {}};
    }
    const auto [grad_x, grad_gain] =
        rope_cuda->norm_backward(grads[0], saved[2], saved[0], saved[1], saved[3], eps);
    return {grad_x, grad_gain, {}, {}, {}};
  }
};

bool cuda_serves_rotation(const at::Tensor& x) {
  return x.is_cuda() && rope_cuda != nullptr && rope_cuda->serves(x);
}

// Checks the arguments of the operators.
std::pair<at::Tensor, at::Tensor> checked_table(const char* operation, const at::Tensor& x,
                                                double theta, int64_t offset, int64_t length,
                                                at::ArrayRef<double> divisors, double magnitude) {
  TORCH_CHECK(x.dim() == 4 && x.size(3) % 2 == 0, operation,
              ": x must be [B, H, T, d] with d even, not ", x.sizes());
  const int64_t half = x.size(3) / 2;
  TORCH_CHECK(divisors.empty() || std::ssize(divisors) == half, operation,
              ": divisors must hold d/2 = ", half, " numbers, not ", divisors.size());
  const bool wide = x.is_cpu() || x.scalar_type() == at::kDouble;
  return table_of({theta, offset, divisors.vec(), magnitude, length, half,
                   wide ? x.scalar_type() : at::kFloat, x.device()});
}

}  // namespace

at::Tensor rope(const at::Tensor& x, double theta, int64_t offset, at::ArrayRef<double> divisors,
                double magnitude) {
  const auto [cosine, sine] =
      checked_table("oasis::rope", x, theta, offset, x.size(2), divisors, magnitude);
  if (x.is_cpu()) return RopeFunction::apply(x, cosine, sine);
  if (cuda_serves_rotation(x)) return RopeCudaFunction::apply(x, std::nullopt, cosine, sine, 0.0);
  const int64_t half = x.size(3) / 2;
  const auto low = x.narrow(-1, 0, half), high = x.narrow(-1, half, half);
  const std::vector<at::Tensor> parts = {low * cosine - high * sine, high * cosine + low * sine};
  return at::cat(parts, -1).to(x.scalar_type());
}

at::Tensor rms_norm_rope(const at::Tensor& x, const at::Tensor& weight, double eps, double theta,
                         int64_t offset, at::ArrayRef<double> divisors, double magnitude) {
  const auto [cosine, sine] =
      checked_table("oasis::rms_norm_rope", x, theta, offset, x.size(2), divisors, magnitude);
  TORCH_CHECK(weight.dim() == 1 && weight.size(0) == x.size(3),
              "oasis::rms_norm_rope: weight must be [", x.size(3), "], not ", weight.sizes());
  if (cuda_serves_rotation(x)) return RopeCudaFunction::apply(x, weight, cosine, sine, eps);
  // The norm goes over the order [B, T, H, d], in which projections leave their heads.
  const auto normed = rms_norm(x.transpose(1, 2), weight, eps).transpose(1, 2);
  return rope(normed, theta, offset, divisors, magnitude);
}

at::Tensor rope_at(const at::Tensor& x, const at::Tensor& gain, double eps, double theta,
                   const SequencePositions& positions, at::ArrayRef<double> divisors,
                   double magnitude) {
  const auto& first = positions.first;
  const auto [cosine, sine] =
      checked_table("oasis::rope_at", x, theta, 0, positions.limit, divisors, magnitude);
  TORCH_CHECK(first.dim() == 1 && first.size(0) == x.size(0) && first.scalar_type() == at::kLong &&
                  first.is_contiguous() && first.device() == x.device(),
              "oasis::rope_at: positions must be contiguous int64 [", x.size(0), "] on ",
              x.device(), ", got ", first.scalar_type(), " ", first.sizes(), " on ",
              first.device());
  if (cuda_serves_rotation(x)) {
    const auto weight = gain.defined() ? gain.to(at::kFloat).contiguous() : gain;
    return rope_cuda->rotate(x, cosine, sine, +1, weight, eps, first);
  }
  const auto y = gain.defined() ? rms_norm(x.transpose(1, 2), gain, eps).transpose(1, 2) : x;
  const int64_t T = x.size(2), half = x.size(3) / 2;
  if (!x.is_cpu()) {
    const auto rows = (first.unsqueeze(1) + at::arange(T, first.options()))
                          .clamp_max(positions.limit - 1);  // [B, T]
    const auto c = at::embedding(cosine, rows).unsqueeze(1);
    const auto s = at::embedding(sine, rows).unsqueeze(1);
    const auto low = y.narrow(-1, 0, half), high = y.narrow(-1, half, half);
    const std::vector<at::Tensor> parts = {low * c - high * s, high * c + low * s};
    return at::cat(parts, -1).to(x.scalar_type());
  }
  const auto* start = first.const_data_ptr<int64_t>();
  for (int64_t b = 0; b < x.size(0); ++b) {
    TORCH_CHECK(start[b] >= 0 && start[b] + T <= positions.limit, "oasis::rope_at: positions ",
                start[b], " to ", start[b] + T - 1, " of sequence ", b, " do not all lie in [0, ",
                positions.limit, ")");
  }
  return rotate_cpu(dense(y), cosine, sine, +1, start);
}

}  // namespace oasis

TORCH_LIBRARY_FRAGMENT(oasis, m) {
  m.def(
      "rope(Tensor x, float theta, int offset=0, float[] divisors=[], float magnitude=1.0) -> "
      "Tensor",
      &oasis::rope);
  m.def(
      "rms_norm_rope(Tensor x, Tensor weight, float eps, float theta, int offset=0, "
      "float[] divisors=[], float magnitude=1.0) -> Tensor",
      &oasis::rms_norm_rope);
}
