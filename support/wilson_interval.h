// The interval of a proportion.
#pragma once

#include <cstdint>

namespace oasis {

struct Interval {
  double low = 0;
  double high = 0;
};

// Wilson's score interval at 95 % (Wilson 1927, doi:10.1080/01621459.1927.10502953): the p for
// which successes/n is no further than 1.96 standard errors, taken at p, from p. Always within [0,
// 1]. Without trials it is [0, 1]. Needs 0 <= successes <= n.
Interval wilson_interval(std::int64_t successes, std::int64_t n);

}  // namespace oasis
