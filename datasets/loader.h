// Blocks of T tokens from a split, in an order that needs no state.
#pragma once

#include <cstdint>
#include <vector>

#include "datasets/shards.h"

namespace oasis {

// A split of n tokens holds floor(n / T) blocks, block b being tokens [bT, (b+1)T); the remainder
// is dropped. Blocks are served as one endless stream: sample k is, in `kShuffled` order, entry
// k mod blocks of the permutation of epoch k / blocks, a pure function of (seed, epoch); in
// `kSequential` order, block k mod blocks. Step s with batch size B takes samples sB … sB + B − 1:
// the stream does not depend on B, and any step can be asked for at any time.
class BlockLoader {
 public:
  enum class Order { kShuffled, kSequential };

  // Throws Error (bad input) naming the split, its tokens and the block length when not even one
  // block fits.
  BlockLoader(TokenSplitPtr split, std::int64_t block_length, std::uint64_t seed,
              Order order = Order::kShuffled);

  std::int64_t blocks() const { return blocks_; }
  std::int64_t block_length() const { return block_length_; }
  const TokenSplit& split() const { return *split_; }

  // Token ids [count, T], row-major, of samples first … first + count − 1. Not safe from several
  // threads at once: the current epoch's permutation is kept.
  std::vector<std::int64_t> samples(std::uint64_t first, std::int64_t count) const;

  // samples(step · batch_size, batch_size): [batch_size, T].
  std::vector<std::int64_t> batch(std::uint64_t step, std::int64_t batch_size) const;

  // The block index of sample k.
  std::int64_t block_of(std::uint64_t sample) const;

 private:
  TokenSplitPtr split_;
  std::int64_t block_length_;
  std::int64_t blocks_;
  std::uint64_t seed_;
  Order order_;
  mutable std::uint64_t epoch_ = 0;
  mutable std::vector<std::uint32_t> order_of_epoch_;  // empty until first asked for
};

}  // namespace oasis
