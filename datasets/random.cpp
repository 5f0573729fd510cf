#include "datasets/random.h"

#include <numeric>

namespace oasis {

std::vector<std::uint32_t> permutation(std::uint32_t count, std::uint64_t seed,
                                       std::uint64_t stream) {
  std::vector<std::uint32_t> order(count);
  std::iota(order.begin(), order.end(), 0u);
  Random random(seed, stream);
  for (std::uint32_t i = count; i > 1; --i) {
    std::swap(order[i - 1], order[random.below(i)]);
  }
  return order;
}

}  // namespace oasis
