#include <ATen/Dispatch.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/fake_quantize/fake_quantize.h"

namespace oasis {
namespace {

// A percentile lies `fraction` of the way from order statistic `index` to the next one.
struct Position {
  Position(double share, std::int64_t count) {
    const double exact = share * static_cast<double>(count - 1);
    index = std::min(static_cast<std::int64_t>(exact), count - 1);
    next = std::min(index + 1, count - 1);
    fraction = exact - static_cast<double>(index);
  }

  std::int64_t index;
  std::int64_t next;
  double fraction;
};

// As NumPy does, from whichever end is nearer, so that fraction 1 gives `next` exactly.
double interpolate(double value, double next, double fraction) {
  return fraction < 0.5 ? value + (next - value) * fraction
                        : next - (next - value) * (1 - fraction);
}

// Partly sorts [begin, end) so that order statistic `position.index` stands in its place.
template <class Iterator>
double select(Iterator begin, Iterator end, const Position& position) {
  const auto at = begin + position.index;
  std::nth_element(begin, at, end);
  const double value = *at;
  // Everything behind `at` is at least as large: the next order statistic is the least of it.
  const double next = position.next == position.index ? value : *std::min_element(at + 1, end);
  return interpolate(value, next, position.fraction);
}

at::Tensor percentiles_cpu(const at::Tensor& x, double lower, double upper) {
  auto out = at::empty({2}, x.options().dtype(at::kDouble));
  auto* range = out.mutable_data_ptr<double>();
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "oasis::percentile_range", [&] {
    const auto* data = x.const_data_ptr<scalar_t>();
    std::vector<scalar_t> values(data, data + x.numel());
    if (std::any_of(values.begin(), values.end(), [](scalar_t v) { return std::isnan(v); })) {
      range[0] = range[1] = std::numeric_limits<double>::quiet_NaN();
      return;
    }
    const Position low(lower, x.numel());
    const Position high(upper, x.numel());
    range[1] = select(values.begin(), values.end(), high);
    // What stands behind the upper order statistic is of no use to the lower one.
    const auto end = low.next <= high.index ? values.begin() + high.index + 1 : values.end();
    range[0] = select(values.begin(), end, low);
  });
  return out;
}

at::Tensor percentiles_composed(const at::Tensor& x, double lower, double upper) {
  const auto sorted = std::get<0>(at::sort(x.flatten())).to(at::kDouble);
  const auto percentile = [&](double share) {
    const Position position(share, x.numel());
    const auto value = sorted[position.index];
    const auto next = sorted[position.next];
    return position.fraction < 0.5 ? value + (next - value) * position.fraction
                                   : next - (next - value) * (1 - position.fraction);
  };
  // NaN sorts last.
  const auto last = sorted[x.numel() - 1];
  const auto range = at::stack({percentile(lower), percentile(upper)});
  return at::where(last.isnan(), last, range);
}

}  // namespace

at::Tensor percentile_range(const at::Tensor& x, double lower, double upper) {
  TORCH_CHECK(at::isFloatingType(x.scalar_type()),
              "oasis::percentile_range: x must have a floating type, not ", x.scalar_type());
  TORCH_CHECK(x.numel() > 0, "oasis::percentile_range: x must not be empty, got shape ", x.sizes());
  TORCH_CHECK(0 <= lower && lower <= upper && upper <= 1,
              "oasis::percentile_range: percentiles must satisfy 0 <= lower <= upper <= 1, got ",
              lower, " and ", upper);
  const auto values =
      x.detach().to(x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat).contiguous();
  return values.is_cpu() ? percentiles_cpu(values, lower, upper)
                         : percentiles_composed(values, lower, upper);
}

}  // namespace oasis
