// Products of 16-bit integers with int32 sums, by the widest instructions that the
// processor has: twice as many multiplications a cycle as in float32.
//
// A panel holds kPanelRows rows, or kPanelColumns columns, two neighbouring k's of one after those
// of the next: [pairs of k][row or column][2].
#pragma once

#include <cstdint>
#include <span>

namespace oasis {

inline constexpr int64_t kPanelRows = 6;
inline constexpr int64_t kPanelColumns = 16;

// sums [panels·kPanelRows][kPanelColumns] += rows · columns, over `pairs` pairs of k. The panels of
// rows are `panel_stride` numbers apart.
using MultiplyPanels = void (*)(const int16_t* rows, int64_t panel_stride, int64_t panels,
                                const int16_t* columns, int64_t pairs, int32_t* sums);

// sums [count] = rows [count, n] · column [n], n a multiple of kDotMultiple.
inline constexpr int64_t kDotMultiple = 16;
using MultiplyRows = void (*)(const int16_t* rows, int64_t stride, int64_t count,
                              const int16_t* column, int64_t n, int32_t* sums);

struct PairInstructions {
  const char* name;
  MultiplyPanels multiply_panels;
  MultiplyRows multiply_rows;
};

// For this processor: AVX-512 with VNNI, AVX2, or plain C++.
const PairInstructions& pair_instructions();

// Every set of them that runs here, the best first.
std::span<const PairInstructions> all_pair_instructions();

}  // namespace oasis
