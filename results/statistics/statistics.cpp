#include "results/statistics/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

namespace oasis {
namespace {

constexpr double kTail = 0.025;  // below and above an interval at 95 %
constexpr std::uint64_t kSeed = 5678;
constexpr std::size_t kFewestForInterval = 3, kFewestForTest = 5, kMostForTest = 20;

double polynomial(std::span<const double> coefficients, double x) {
  double sum = 0;
  for (auto c = coefficients.rbegin(); c != coefficients.rend(); ++c) sum = sum * x + *c;
  return sum;
}

// A number below `n`, the same on every platform (std::uniform_int_distribution is not).
std::size_t draw_below(std::mt19937_64& generator, std::size_t n) {
  return static_cast<std::size_t>(((generator() >> 32) * n) >> 32);
}

// The means of all resamples of `values` with replacement, or of many drawn ones; sorted.
std::vector<double> resampled_means(std::span<const double> values) {
  const std::size_t n = values.size();
  std::int64_t all = 1;
  for (std::size_t i = 0; i < n && all <= kLargestEnumeration; ++i) {
    all *= static_cast<std::int64_t>(n);
  }
  std::vector<double> means;
  std::vector<std::size_t> chosen(n, 0);
  const auto add = [&] {
    double sum = 0;
    for (const auto i : chosen) sum += values[i];
    means.push_back(sum / static_cast<double>(n));
  };
  if (all <= kLargestEnumeration) {
    for (std::int64_t k = 0; k < all; ++k) {
      add();
      for (std::size_t digit = 0; digit < n && ++chosen[digit] == n; ++digit) chosen[digit] = 0;
    }
  } else {
    std::mt19937_64 generator(kSeed);
    for (std::int64_t k = 0; k < kDrawnResamples; ++k) {
      for (auto& i : chosen) i = draw_below(generator, n);
      add();
    }
  }
  std::ranges::sort(means);
  return means;
}

// The quantile of sorted values, with linear interpolation between order statistics.
double quantile(const std::vector<double>& sorted, double p) {
  const double at = p * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const auto above = std::min(below + 1, sorted.size() - 1);
  return std::lerp(sorted[below], sorted[above], at - static_cast<double>(below));
}

// Efron's acceleration from the jackknife: a sixth of the skewness of the means' influence.
double acceleration(std::span<const double> values) {
  const double centre = mean(values);
  double squares = 0, cubes = 0;
  for (const double value : values) {
    const double influence = value - centre;  // that of the mean, but for a factor that cancels
    squares += influence * influence;
    cubes += influence * influence * influence;
  }
  return squares == 0 ? 0 : cubes / (6 * std::pow(squares, 1.5));
}

}  // namespace

double mean(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

std::optional<double> sample_deviation(std::span<const double> values) {
  if (values.size() < 2) return std::nullopt;
  const double centre = mean(values);
  double squares = 0;
  for (const double value : values) squares += (value - centre) * (value - centre);
  return std::sqrt(squares / static_cast<double>(values.size() - 1));
}

std::optional<Interval> bootstrap_interval(std::span<const double> values) {
  if (values.size() < kFewestForInterval) return std::nullopt;
  const auto [least, largest] = std::ranges::minmax(values);
  if (least == largest) return Interval{least, largest};
  const auto means = resampled_means(values);
  const double centre = mean(values);
  // Sums in another order differ by rounding; a tie is a tie.
  const double near = 1e-12 * std::max(std::abs(least), std::abs(largest));
  const auto below = std::ranges::lower_bound(means, centre - near) - means.begin();
  const auto up_to = std::ranges::upper_bound(means, centre + near) - means.begin();
  const double bias =
      normal_quantile(static_cast<double>(below + up_to) / (2 * static_cast<double>(means.size())));
  const double a = acceleration(values);
  const auto end = [&](double p) {
    const double z = bias + normal_quantile(p);
    return quantile(means, normal_cumulative(bias + z / (1 - a * z)));
  };
  return Interval{end(kTail), end(1 - kTail)};
}

std::optional<double> sign_flip_p(std::span<const double> differences) {
  const std::size_t n = differences.size();
  if (n < kFewestForTest || n > kMostForTest) return std::nullopt;
  const double found = std::abs(std::accumulate(differences.begin(), differences.end(), 0.0));
  const double size = std::accumulate(differences.begin(), differences.end(), 0.0,
                                      [](double sum, double x) { return sum + std::abs(x); });
  std::int64_t as_far = 0;
  const std::int64_t all = std::int64_t{1} << n;
  for (std::int64_t signs = 0; signs < all; ++signs) {
    double sum = 0;
    for (std::size_t i = 0; i < n; ++i) {
      sum += ((signs >> i) & 1) != 0 ? -differences[i] : differences[i];
    }
    if (std::abs(sum) >= found - 1e-12 * size) ++as_far;
  }
  return static_cast<double>(as_far) / static_cast<double>(all);
}

std::vector<double> holm(std::span<const double> p) {
  std::vector<std::size_t> order(p.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {}, [&](std::size_t i) { return p[i]; });
  std::vector<double> adjusted(p.size());
  double largest = 0;
  for (std::size_t rank = 0; rank < order.size(); ++rank) {
    largest = std::max(largest, static_cast<double>(p.size() - rank) * p[order[rank]]);
    adjusted[order[rank]] = std::min(1.0, largest);
  }
  return adjusted;
}

double mcnemar_p(std::int64_t gained, std::int64_t lost) {
  const std::int64_t n = gained + lost, fewer = std::min(gained, lost);
  // 2·P(X <= fewer), the terms by their logarithms.
  double sum = 0;
  for (std::int64_t k = 0; k <= fewer; ++k) {
    const auto real = [](std::int64_t x) { return static_cast<double>(x); };
    sum += std::exp(std::lgamma(real(n + 1)) - std::lgamma(real(k + 1)) -
                    std::lgamma(real(n - k + 1)) - real(n) * std::log(2.0));
  }
  return std::min(1.0, 2 * sum);
}

double normal_cumulative(double x) {
  return 0.5 * std::erfc(-x / std::sqrt(2.0));
}

double normal_quantile(double p) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (p <= 0) return -kInfinity;
  if (p >= 1) return kInfinity;
  constexpr double kA[] = {3.3871328727963666080e0, 1.3314166789178437745e2,
                           1.9715909503065514427e3, 1.3731693765509461125e4,
                           4.5921953931549871457e4, 6.7265770927008700853e4,
                           3.3430575583588128105e4, 2.5090809287301226727e3};
  constexpr double kB[] = {1.0,
                           4.2313330701600911252e1,
                           6.8718700749205790830e2,
                           5.3941960214247511077e3,
                           2.1213794301586595867e4,
                           3.9307895800092710610e4,
                           2.8729085735721942674e4,
                           5.2264952788528545610e3};
  constexpr double kC[] = {1.42343711074968357734e0,  4.63033784615654529590e0,
                           5.76949722146069140550e0,  3.64784832476320460504e0,
                           1.27045825245236838258e0,  2.41780725177450611770e-1,
                           2.27238449892691845833e-2, 7.74545014278341407640e-4};
  constexpr double kD[] = {1.0,
                           2.05319162663775882187e0,
                           1.67638483018380384940e0,
                           6.89767334985100004550e-1,
                           1.48103976427480074590e-1,
                           1.51986665636164571966e-2,
                           5.47593808499534494600e-4,
                           1.05075007164441684324e-9};
  constexpr double kE[] = {6.65790464350110377720e0,  5.46378491116411436990e0,
                           1.78482653991729133580e0,  2.96560571828504891230e-1,
                           2.65321895265761230930e-2, 1.24266094738807843860e-3,
                           2.71155556874348757815e-5, 2.01033439929228813265e-7};
  constexpr double kF[] = {1.0,
                           5.99832206555887937690e-1,
                           1.36929880922735805310e-1,
                           1.48753612908506148525e-2,
                           7.86869131145613259100e-4,
                           1.84631831751005468180e-5,
                           1.42151175831644588870e-7,
                           2.04426310338993978564e-15};
  const double q = p - 0.5;
  if (std::abs(q) <= 0.425) {
    const double r = 0.180625 - q * q;
    return q * polynomial(kA, r) / polynomial(kB, r);
  }
  double r = std::sqrt(-std::log(q < 0 ? p : 1 - p));
  double x = 0;
  if (r <= 5) {
    r -= 1.6;
    x = polynomial(kC, r) / polynomial(kD, r);
  } else {
    r -= 5;
    x = polynomial(kE, r) / polynomial(kF, r);
  }
  return q < 0 ? -x : x;
}

}  // namespace oasis
