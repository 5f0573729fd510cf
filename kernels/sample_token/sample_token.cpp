#include "kernels/sample_token/sample_token.h"

#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "kernels/dispatch.h"
#include "kernels/parallel.h"
#include "kernels/sample_token/philox.h"
#include "kernels/sample_token/sample_token_cuda.h"

namespace oasis {

const SampleTokenCuda* sample_token_cuda = nullptr;

namespace {

void check_arguments(const at::Tensor& logits, const at::Tensor& streams,
                     const at::Tensor& positions, const SamplingSpec& spec) {
  TORCH_CHECK(logits.dim() == 2 && logits.size(1) > 0 && at::isFloatingType(logits.scalar_type()),
              "oasis::sample_token: logits must be floating [B, V], got ", logits.scalar_type(),
              " ", logits.sizes());
  for (const auto& x : {streams, positions}) {
    TORCH_CHECK(x.dim() == 1 && x.size(0) == logits.size(0) && x.scalar_type() == at::kLong &&
                    x.device() == logits.device(),
                "oasis::sample_token: streams and positions must be int64 [", logits.size(0),
                "] on ", logits.device(), ", got ", x.scalar_type(), " ", x.sizes(), " on ",
                x.device());
  }
  TORCH_CHECK(spec.temperature >= 0 && std::isfinite(spec.temperature),
              "oasis::sample_token: temperature must be >= 0, got ", spec.temperature);
  TORCH_CHECK(spec.top_k >= 0, "oasis::sample_token: top_k must be >= 0, got ", spec.top_k);
  TORCH_CHECK(spec.top_p > 0 && spec.top_p <= 1, "oasis::sample_token: top_p must lie in (0, 1], ",
              "got ", spec.top_p);
}

// The largest value and the first place that holds it.
template <typename T>
int64_t likeliest(const T* row, int64_t n) {
  T largest = row[0];
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < n; ++i) largest = row[i] > largest ? row[i] : largest;
  return std::find(row, row + n, largest) - row;
}

// The smallest x that is kept, from all x in any order. Values are looked at in growing numbers of
// the largest, since few hold most of the mass.
template <typename T>
T kept_from(std::vector<T>& x, const SamplingSpec& spec) {
  auto end = x.end();
  if (spec.top_k > 0 && spec.top_k < std::ssize(x)) {
    std::nth_element(x.begin(), x.begin() + (spec.top_k - 1), x.end(), std::greater<T>());
    const T smallest = x[static_cast<size_t>(spec.top_k - 1)];
    end = std::partition(x.begin(), x.end(), [&](T value) { return value >= smallest; });
  }
  if (spec.top_p == 1) return *std::min_element(x.begin(), end);
  const T largest = *std::max_element(x.begin(), end);
  const auto mass = [&](T value) { return std::exp(static_cast<double>(value - largest)); };
  double total = 0;
  for (auto value = x.begin(); value != end; ++value) total += mass(*value);
  double above = 0;  // mass of those in front of `sorted`
  auto sorted = x.begin();
  for (int64_t count = 64;; count *= 4) {
    const auto stop = end - sorted > count ? sorted + count : end;
    if (stop != end) std::nth_element(sorted, stop, end, std::greater<T>());
    std::sort(sorted, stop, std::greater<T>());
    for (; sorted != stop; ++sorted) {
      above += mass(*sorted);
      if (above >= spec.top_p * total) return *sorted;
    }
    if (stop == end) return *(end - 1);
  }
}

template <typename T>
int64_t draw(const T* logits, int64_t n, uint64_t stream, int64_t position,
             const SamplingSpec& spec, std::vector<T>& x) {
  const T inverse = static_cast<T>(1 / spec.temperature);
  T smallest = -std::numeric_limits<T>::infinity();
  if (spec.top_k > 0 || spec.top_p < 1) {
    x.resize(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) x[static_cast<size_t>(i)] = logits[i] * inverse;
    smallest = kept_from(x, spec);
  }
  int64_t best = -1;
  T score = 0;
  for (int64_t i = 0; i < n; ++i) {
    const T value = logits[i] * inverse;
    if (value < smallest) continue;
    const float u =
        token_uniform(spec.seed, stream, static_cast<uint32_t>(position), static_cast<uint32_t>(i));
    const T found = value - static_cast<T>(std::log(-std::log(u)));
    if (best < 0 || found > score) {
      best = i;
      score = found;
    }
  }
  return best;
}

at::Tensor sample_cpu(const at::Tensor& logits, const at::Tensor& streams,
                      const at::Tensor& positions, const SamplingSpec& spec) {
  const int64_t B = logits.size(0), V = logits.size(1);
  auto tokens = at::empty({B}, streams.options());
  const auto* stream = streams.const_data_ptr<int64_t>();
  const auto* position = positions.const_data_ptr<int64_t>();
  auto* token = tokens.mutable_data_ptr<int64_t>();
  dispatch_floating(logits.scalar_type(), "oasis::sample_token", [&]<typename scalar_t>() {
    const auto* data = logits.const_data_ptr<scalar_t>();
    parallel_rows(B, 1, [&](int64_t begin, int64_t end) {
      std::vector<scalar_t> buffer;
      for (int64_t b = begin; b < end; ++b) {
        const scalar_t* row = data + b * V;
        scalar_t sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < V; ++i) sum += row[i] * 0;  // NaN for NaN and for infinities
        if (std::isnan(sum) &&
            std::any_of(row, row + V, [](scalar_t x) { return std::isnan(x); })) {
          token[b] = -1;
        } else if (spec.temperature == 0) {
          token[b] = likeliest(row, V);
        } else {
          token[b] = draw(row, V, static_cast<uint64_t>(stream[b]), position[b], spec, buffer);
        }
      }
    });
  });
  return tokens;
}

at::Tensor sample_token_operator(const at::Tensor& logits, const at::Tensor& streams,
                                 const at::Tensor& positions, double temperature, int64_t top_k,
                                 double top_p, int64_t seed) {
  return sample_token(logits, streams, positions,
                      {temperature, top_k, top_p, static_cast<uint64_t>(seed)});
}

}  // namespace

at::Tensor sample_token(const at::Tensor& logits, const at::Tensor& streams,
                        const at::Tensor& positions, const SamplingSpec& spec) {
  check_arguments(logits, streams, positions, spec);
  const auto type =
      logits.scalar_type() == at::kDouble && logits.is_cpu() ? at::kDouble : at::kFloat;
  const auto x = logits.to(type).contiguous();
  if (x.is_cuda() && sample_token_cuda != nullptr) {
    return sample_token_cuda->sample(x, streams.contiguous(), positions.contiguous(), spec);
  }
  return sample_cpu(x.cpu(), streams.cpu().contiguous(), positions.cpu().contiguous(), spec)
      .to(logits.device());
}

TORCH_LIBRARY_FRAGMENT(oasis, library) {
  library.def(
      "sample_token(Tensor logits, Tensor streams, Tensor positions, float temperature=0.0, "
      "int top_k=0, float top_p=1.0, int seed=0) -> Tensor",
      torch::dispatch(c10::DispatchKey::CompositeExplicitAutograd, sample_token_operator));
}

}  // namespace oasis
