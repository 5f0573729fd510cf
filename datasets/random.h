// Random numbers that are the same with every compiler and library: std::shuffle and the standard
// distributions are not specified exactly, so nothing in datasets/ uses them.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace oasis {

// The output function of SplitMix64 (Steele, Lea & Flood 2014, doi:10.1145/2660193.2660195).
inline std::uint64_t mix64(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

// Counter-based: draw i of stream (seed, stream) is mix64 of a start that depends on both plus i
// times the golden-ratio increment, so a stream needs no state beyond its position.
class Random {
 public:
  explicit Random(std::uint64_t seed, std::uint64_t stream = 0)
      : state_(mix64(seed + kIncrement) ^ mix64(mix64(stream + kIncrement) + kIncrement)) {}

  std::uint64_t next() { return mix64(state_ += kIncrement); }

  // Uniform in [0, bound), bound >= 1, without bias (Lemire 2019, doi:10.1145/3230636).
  std::uint64_t below(std::uint64_t bound) {
    const std::uint64_t threshold = (0 - bound) % bound;
    while (true) {
      const auto product = static_cast<Wide>(next()) * bound;
      if (static_cast<std::uint64_t>(product) >= threshold) {
        return static_cast<std::uint64_t>(product >> 64);
      }
    }
  }

  // Uniform in [0, 1) with 53 bits.
  double uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }

 private:
  __extension__ typedef unsigned __int128 Wide;
  static constexpr std::uint64_t kIncrement = 0x9e3779b97f4a7c15ULL;
  std::uint64_t state_;
};

// Fisher-Yates: a permutation of 0 … count−1 that depends on (seed, stream) alone.
std::vector<std::uint32_t> permutation(std::uint32_t count, std::uint64_t seed,
                                       std::uint64_t stream);

}  // namespace oasis
