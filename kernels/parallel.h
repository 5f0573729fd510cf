// Loops shared by threads whose results do not depend on the number of threads, to the last bit.
//
// The body exists once in the program. Left to itself the compiler inlines it twice, into the
// serial and into the threaded branch of at::parallel_for, and contracts products and sums
// differently in the two.
#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdint>

namespace oasis {

template <typename Function>
[[gnu::noinline, gnu::noclone]] void run_range(const Function& function, std::int64_t begin,
                                               std::int64_t end) {
  function(begin, end);
}

// function(begin, end) over ranges of [0, count), of at least `grain` where there are as many.
template <typename Function>
void parallel_rows(std::int64_t count, std::int64_t grain, const Function& function) {
  at::parallel_for(0, count, grain,
                   [&](std::int64_t begin, std::int64_t end) { run_range(function, begin, end); });
}

// The same for single elements: over blocks of `block`, the same for any number of threads, because
// the last elements of a loop, which do not fill a vector, may be rounded differently from the
// rest.
template <typename Function>
void parallel_elements(std::int64_t count, std::int64_t block, const Function& function) {
  parallel_rows((count + block - 1) / block, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
      function(i * block, std::min(count, (i + 1) * block));
    }
  });
}

}  // namespace oasis
