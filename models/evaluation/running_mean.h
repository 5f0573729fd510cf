// A mean that grows batch by batch, in float64, on the device where the values are.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace oasis {

class RunningMean {
 public:
  // `values`: averaged over the dimensions `dims`, apart for each index of the others, whose
  // extents are the same in every call.
  void add(const at::Tensor& values, at::IntArrayRef dims);

  // What each mean is over.
  int64_t count() const { return count_; }
  // The means, flattened.
  std::vector<double> values() const;
  // The mean of everything.
  double mean() const;

 private:
  at::Tensor sum_;  // float64; undefined before the first add
  int64_t count_ = 0;
};

// As std::max, but NaN wins.
double max_or_nan(double a, double b);

}  // namespace oasis
