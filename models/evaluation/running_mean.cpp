#include "models/evaluation/running_mean.h"

#include <ATen/ops/sum.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace oasis {

void RunningMean::add(const at::Tensor& values, at::IntArrayRef dims) {
  const auto sum = values.sum(dims, /*keepdim=*/false, at::kDouble);
  sum_ = sum_.defined() ? sum_ + sum : sum;
  count_ += values.numel() / std::max<int64_t>(1, sum.numel());
}

std::vector<double> RunningMean::values() const {
  if (!sum_.defined()) return {};
  const auto sums = sum_.to(at::kCPU).reshape({-1}).contiguous();
  std::vector<double> means(sums.const_data_ptr<double>(),
                            sums.const_data_ptr<double>() + sums.numel());
  for (double& value : means) value /= static_cast<double>(count_);
  return means;
}

double RunningMean::mean() const {
  const auto means = values();
  if (means.empty()) return std::numeric_limits<double>::quiet_NaN();
  return std::accumulate(means.begin(), means.end(), 0.0) / static_cast<double>(means.size());
}

double max_or_nan(double a, double b) {
  return std::isnan(a) || a > b ? a : b;
}

}  // namespace oasis
