#include "datasets/gsm8k/python_random.h"

#include <gtest/gtest.h>

#include <array>

namespace oasis::gsm8k {
namespace {

// What CPython 3.11 prints for three calls of random.Random(seed).sample(range(population), count).
struct Case {
  std::uint64_t seed;
  std::uint32_t population;
  std::uint32_t count;
  std::array<std::vector<std::uint32_t>, 3> samples;
};
const std::array kCases = {
    Case{1234,
         7473,
         5,
         {{{6374, 3610, 957, 61, 742},
           {7462, 6610, 4769, 286, 5501},
           {5677, 687, 806, 6279, 2905}}}},
    // the largest population that is drawn from a list, and the first that is not
    Case{0, 21, 5, {{{12, 13, 1, 8, 16}, {15, 12, 9, 20, 11}, {18, 6, 16, 4, 9}}}},
    Case{0, 22, 5, {{{12, 13, 1, 8, 16}, {15, 12, 9, 11, 18}, {6, 16, 4, 9, 3}}}},
    Case{4294967295,
         85,
         8,
         {{{81, 79, 26, 27, 77, 66, 37, 80},
           {43, 48, 35, 45, 63, 52, 8, 27},
           {78, 17, 61, 64, 46, 20, 7, 42}}}},
    // seeds of two 32-bit digits
    Case{4294967296,
         86,
         8,
         {{{14, 44, 53, 2, 78, 42, 69, 57},
           {1, 17, 9, 55, 64, 40, 43, 48},
           {61, 59, 20, 15, 84, 39, 17, 71}}}},
    Case{18446744073709551615U,
         7473,
         8,
         {{{178, 2037, 2769, 5068, 1736, 3736, 5039, 778},
           {7379, 3039, 6291, 5997, 5697, 6082, 445, 6038},
           {1577, 5979, 4361, 3847, 5393, 7197, 640, 6562}}}},
    Case{7, 5, 5, {{{2, 1, 3, 0, 4}, {4, 0, 1, 3, 2}, {0, 4, 1, 2, 3}}}},
    Case{42,
         3000000000,
         3,
         {{{2746317213, 478163327, 107420369},
           {1181241943, 1051802512, 958682846},
           {599310825, 440213415, 2906402157}}}}};

TEST(PythonRandom, SamplesAsCPythonDoes) {
  for (const auto& example : kCases) {
    PythonRandom random(example.seed);
    for (const auto& sample : example.samples) {
      EXPECT_EQ(random.sample(example.population, example.count), sample)
          << example.seed << " " << example.population;
    }
  }
}

TEST(PythonRandom, ChoosingFromOneTakesDrawsToo) {
  // _randbelow(1) draws one bit until it is 0, which moves what follows.
  PythonRandom random(7);
  EXPECT_EQ(random.sample(1, 1), std::vector<std::uint32_t>{0});
  EXPECT_TRUE(random.sample(5, 0).empty());
  EXPECT_EQ(random.sample(5, 5), (std::vector<std::uint32_t>{1, 3, 2, 0, 4}));
}

}  // namespace
}  // namespace oasis::gsm8k
