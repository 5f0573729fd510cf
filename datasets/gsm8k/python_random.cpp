#include "datasets/gsm8k/python_random.h"

#include <algorithm>
#include <array>
#include <bit>
#include <numeric>

namespace oasis::gsm8k {
namespace {

// A seed sequence whose only use is to hand std::mt19937 the state that init_by_array makes.
class InitByArray {
 public:
  using result_type = std::uint_least32_t;

  explicit InitByArray(std::uint64_t seed)
      : key_{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)},
        key_length_(key_[1] == 0 ? 1 : 2) {}

  template <typename Iterator>
  void generate(Iterator begin, Iterator end) const {
    std::array<std::uint32_t, std::mt19937::state_size> state;
    const auto size = static_cast<std::uint32_t>(state.size());
    state[0] = 19650218;
    for (std::uint32_t i = 1; i < size; ++i) state[i] = 1812433253 * folded(state, i) + i;
    std::uint32_t i = 1;
    const auto step_on = [&] {
      if (++i < size) return;
      state[0] = state[size - 1];
      i = 1;
    };
    for (std::uint32_t k = 0; k < size; ++k) {
      const std::uint32_t j = k % key_length_;
      state[i] = (state[i] ^ (folded(state, i) * 1664525)) + key_[j] + j;
      step_on();
    }
    for (std::uint32_t k = 1; k < size; ++k) {
      state[i] = (state[i] ^ (folded(state, i) * 1566083941)) - i;
      step_on();
    }
    state[0] = 0x80000000;
    std::copy_n(state.begin(), end - begin, begin);
  }

 private:
  static std::uint32_t folded(const auto& state, std::uint32_t i) {
    return state[i - 1] ^ (state[i - 1] >> 30);
  }

  std::array<std::uint32_t, 2> key_;
  std::uint32_t key_length_;
};

std::mt19937 engine_of(std::uint64_t seed) {
  InitByArray sequence(seed);
  return std::mt19937(sequence);
}

// Below it, CPython draws from a list of what is left; above, it draws again what was drawn before.
std::uint64_t largest_listed_population(std::uint32_t count) {
  std::uint64_t size = 21;
  if (count <= 5) return size;
  std::uint64_t table = 4;  // 4^ceil(log4(3 count))
  while (table < std::uint64_t{3} * count) table *= 4;
  return size + table;
}

}  // namespace

PythonRandom::PythonRandom(std::uint64_t seed) : engine_(engine_of(seed)) {}

std::uint32_t PythonRandom::below(std::uint32_t bound) {
  const int shift = 32 - std::bit_width(bound);
  for (;;) {
    const auto drawn = static_cast<std::uint32_t>(engine_()) >> shift;
    if (drawn < bound) return drawn;
  }
}

std::vector<std::uint32_t> PythonRandom::sample(std::uint32_t population, std::uint32_t count) {
  std::vector<std::uint32_t> drawn;
  if (population <= largest_listed_population(count)) {
    std::vector<std::uint32_t> left(population);
    std::iota(left.begin(), left.end(), 0U);
    for (std::uint32_t i = 0; i < count; ++i) {
      auto& taken = left[below(population - i)];
      drawn.push_back(taken);
      taken = left[population - i - 1];
    }
    return drawn;
  }
  while (drawn.size() < count) {
    const auto index = below(population);
    if (std::find(drawn.begin(), drawn.end(), index) == drawn.end()) drawn.push_back(index);
  }
  return drawn;
}

}  // namespace oasis::gsm8k
