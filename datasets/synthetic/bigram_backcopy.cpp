#include "datasets/synthetic/bigram_backcopy.h"

#include <algorithm>

#include "datasets/synthetic/stream.h"

namespace oasis {
namespace {

constexpr std::uint32_t kFirstPlain = BigramBackcopy::kTriggers + 1;
constexpr std::uint32_t kPlainTokens = BigramBackcopy::kVocabSize - kFirstPlain;
constexpr std::uint64_t kOneTriggerIn = 6;

}  // namespace

BigramBackcopy::BigramBackcopy(std::uint64_t seed) : seed_(seed) {
  std::uint64_t total = 0;
  for (std::uint64_t rank = 0; rank < kPlainTokens; ++rank) {
    total += (std::uint64_t{1} << 40) / ((rank + 1) * (rank + 2));
    cumulative_weight_.push_back(total);
  }
  for (std::uint32_t token = 0; token < kVocabSize; ++token) {
    auto& row =
        ranked_.emplace_back(permutation(kPlainTokens, mix64(seed ^ fnv1a("chain")), token));
    for (auto& next : row) next += kFirstPlain;
  }
}

void BigramBackcopy::sequence(std::string_view split, std::uint64_t index,
                              std::span<std::uint32_t> out) const {
  Random random = item_stream(seed_, split, index);
  for (std::size_t t = 0; t < out.size(); ++t) {
    if (t == 0) {
      out[t] = kBos;
    } else if (is_trigger(out[t - 1])) {
      out[t] = out[t - 2];  // t >= 2: the token after BOS is no trigger
    } else if (t > 1 && random.below(kOneTriggerIn) == 0) {
      out[t] = 1 + static_cast<std::uint32_t>(random.below(kTriggers));
    } else {
      const auto draw = random.below(cumulative_weight_.back());
      const auto rank =
          std::upper_bound(cumulative_weight_.begin(), cumulative_weight_.end(), draw) -
          cumulative_weight_.begin();
      out[t] = ranked_[out[t - 1]][static_cast<std::size_t>(rank)];
    }
  }
}

}  // namespace oasis
