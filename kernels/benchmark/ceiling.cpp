#include "kernels/benchmark/ceiling.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <limits>

#include "kernels/benchmark/timing.h"
#include "kernels/linear/linear.h"

namespace oasis::bench {
namespace {

constexpr int kTries = 8;

double fastest(const ColdTimer& timer, const std::function<void()>& work) {
  work();
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kTries; ++i) best = std::min(best, timer.seconds(work));
  return best;
}

}  // namespace

double Ceiling::seconds(double bytes, double flops) const {
  return std::max(bytes / bytes_per_second, flops / flops_per_second);
}

Ceiling measure_ceiling(const Target& target, at::ScalarType type) {
  const ColdTimer timer(target.device);
  const std::int64_t megabytes = target.cuda() ? 512 : target.quick ? 64 : 256;
  const auto from =
      at::empty({megabytes << 20}, at::TensorOptions(at::kByte).device(target.device));
  const auto to = at::empty_like(from);
  from.fill_(1);
  const std::int64_t n = target.cuda() ? 8192 : target.quick ? 1024 : 2048;
  const auto a = draw({n, n}, type, target, 1);
  const auto b = draw({n, n}, type, target, 2);
  Ceiling ceiling;
  ceiling.bytes_per_second = 2 * static_cast<double>(from.nbytes()) /
                             fastest(timer, [&] { to.copy_(from, /*non_blocking=*/true); });
  ceiling.flops_per_second =
      2 * static_cast<double>(n * n * n) / fastest(timer, [&] { matrix_product(a, b); });
  return ceiling;
}

}  // namespace oasis::bench
