// Products of panels of 16-bit integers with int32 sums, by the widest instructions that the
// processor has: twice as many multiplications a cycle as in float32.
//
// A panel holds kPanelRows rows, or kPanelColumns columns, two neighbouring k's of one after those
// of the next: [pairs of k][row or column][2].
#pragma once

#include <cstdint>

namespace oasis {

inline constexpr int64_t kPanelRows = 6;
inline constexpr int64_t kPanelColumns = 16;

// sums [panels·kPanelRows][kPanelColumns] += rows · columns, over `pairs` pairs of k. The panels of
// rows are `panel_stride` numbers apart.
using MultiplyPanels = void (*)(const int16_t* rows, int64_t panel_stride, int64_t panels,
                                const int16_t* columns, int64_t pairs, int32_t* sums);

// For this processor: AVX-512 with VNNI, AVX2, or plain C++.
MultiplyPanels multiply_panels();

// Every one of them that runs here, for tests; null ends the list.
const MultiplyPanels* all_multiply_panels();

}  // namespace oasis
