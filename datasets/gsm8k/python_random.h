// CPython's `random.Random(seed)`: the same integers, so that a published random choice can be
// repeated. Everything else in datasets/ uses random.h.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

namespace oasis::gsm8k {

class PythonRandom {
 public:
  // MT19937 (Matsumoto & Nishimura 1998, doi:10.1145/272991.272995) seeded by its reference
  // init_by_array with the 32-bit digits of `seed`, the lowest first.
  explicit PythonRandom(std::uint64_t seed);

  // `_randbelow(bound)`, bound >= 1: as many top bits of a draw as `bound` has, drawn again until
  // they are less.
  std::uint32_t below(std::uint32_t bound);

  // `sample(range(population), count)`, count <= population: distinct indices in the order drawn.
  std::vector<std::uint32_t> sample(std::uint32_t population, std::uint32_t count);

 private:
  std::mt19937 engine_;
};

}  // namespace oasis::gsm8k
