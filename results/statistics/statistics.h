// What may be said of a difference between two methods: intervals, tests and their correction.
//
// The unit of every figure here is the seed (docs/statistics.md says why): a value is one seed's
// difference, paired within the seed. Everything is deterministic.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "support/wilson_interval.h"

namespace oasis {

double mean(std::span<const double> values);                             // of at least one
std::optional<double> sample_deviation(std::span<const double> values);  // empty below two

// Up to so many resamples the bootstrap distribution is enumerated (6 values: 46,656); beyond, this
// many are drawn by a generator that starts from a fixed seed.
inline constexpr std::int64_t kLargestEnumeration = 50'000;
inline constexpr std::int64_t kDrawnResamples = 20'000;

// The bias-corrected and accelerated bootstrap interval of the mean at 95 % (Efron 1987,
// doi:10.1080/01621459.1987.10478410), with ties of the bootstrap distribution counted half and
// linear interpolation between its order statistics, as scipy.stats.bootstrap has it. Equal values
// give that value at both ends. Empty below three values: of two it says nothing but the two.
std::optional<Interval> bootstrap_interval(std::span<const double> values);

// The two-sided p of the mean of paired differences under exchange of each pair's signs, exact, by
// enumeration of the 2^n signs: the share of them whose mean is at least as far from zero. Empty
// below five values (where it cannot fall below 1/8) and above 20.
std::optional<double> sign_flip_p(std::span<const double> differences);

// Holm's step-down correction (Holm 1979): adjusted p-values in the order of the given ones.
std::vector<double> holm(std::span<const double> p);

// McNemar's exact test of two answers to the same problems: `gained` and `lost` count those that
// only one had right. Two-sided, binomial with p = 1/2; 1 without any.
double mcnemar_p(std::int64_t gained, std::int64_t lost);

// The standard normal distribution and its inverse (Wichura 1988, algorithm AS 241: 1e-16).
double normal_cumulative(double x);
double normal_quantile(double p);  // -∞ at 0, ∞ at 1

}  // namespace oasis
