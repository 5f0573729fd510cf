#include "datasets/loader.h"

#include <limits>
#include <utility>

#include "datasets/random.h"
#include "support/error.h"

namespace oasis {

BlockLoader::BlockLoader(TokenSplitPtr split, std::int64_t block_length, std::uint64_t seed,
                         Order order)
    : split_(std::move(split)), block_length_(block_length), seed_(seed), order_(order) {
  const auto& info = split_->info();
  if (block_length < 1) {
    throw bad_input("block length {} of {}/{}: must be at least 1", block_length, info.dataset,
                    info.split);
  }
  const std::uint64_t blocks = split_->size() / static_cast<std::uint64_t>(block_length);
  if (blocks < 1) {
    throw bad_input(
        "split '{}' of data set '{}' has {} tokens, fewer than one block of {}; shorten the block "
        "or take more data",
        info.split, info.dataset, split_->size(), block_length);
  }
  if (blocks > std::numeric_limits<std::uint32_t>::max()) {
    throw bad_input("{}/{}: {} blocks of {} tokens are more than 2^32; lengthen the block",
                    info.dataset, info.split, blocks, block_length);
  }
  blocks_ = static_cast<std::int64_t>(blocks);
}

std::int64_t BlockLoader::block_of(std::uint64_t sample) const {
  const auto blocks = static_cast<std::uint64_t>(blocks_);
  const std::uint64_t inside = sample % blocks;
  if (order_ == Order::kSequential) return static_cast<std::int64_t>(inside);
  const std::uint64_t epoch = sample / blocks;
  if (order_of_epoch_.empty() || epoch != epoch_) {
    order_of_epoch_ = permutation(static_cast<std::uint32_t>(blocks), seed_, epoch);
    epoch_ = epoch;
  }
  return order_of_epoch_[inside];
}

std::vector<std::int64_t> BlockLoader::samples(std::uint64_t first, std::int64_t count) const {
  const auto length = static_cast<std::size_t>(block_length_);
  std::vector<std::int64_t> tokens(static_cast<std::size_t>(count) * length);
  for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
    const auto block = static_cast<std::uint64_t>(block_of(first + i));
    split_->read(block * length, std::span(tokens).subspan(i * length, length));
  }
  return tokens;
}

std::vector<std::int64_t> BlockLoader::batch(std::uint64_t step, std::int64_t batch_size) const {
  return samples(step * static_cast<std::uint64_t>(batch_size), batch_size);
}

}  // namespace oasis
