// The bigram-backcopy task of Guo et al. 2024, "Active-Dormant Attention Heads: Mechanistically
// Demystifying Extreme-Token Phenomena in LLMs" (arXiv 2410.13835): the smallest setting in which
// transformers grow attention sinks, value-state drains and residual peaks.
//
// Every sequence starts with the beginning-of-sequence token, which is what a sink needs. After a
// trigger token the next token is a copy of the token before the trigger (a head must look back:
// it is active); everywhere else the next token is a draw from a Markov chain on the current one
// (nothing to look for: the head is dormant, and its mass goes to the sink).
//
//   x_0 = BOS;   x_1 ~ chain(BOS);   x_t = x_{t−2} if x_{t−1} is a trigger, else ~ chain(x_{t−1})
//
// The paper estimates its chain from characters of Tiny Shakespeare. Here it is generated, so that
// nothing has to be downloaded: from each token, one draw in six is a trigger, uniformly; else the
// other tokens are ranked by a random permutation and the one of rank r ≥ 0 has a probability
// proportional to 1/((r+1)(r+2)), about 2.4 nats a draw. BOS is followed by no trigger, so that BOS
// is never copied. All arithmetic is in integers: the same tokens on every machine.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace oasis {

class BigramBackcopy {
 public:
  static constexpr std::uint32_t kVocabSize = 64;
  static constexpr std::uint32_t kBos = 0;       // also stands where end-of-text is asked for
  static constexpr std::uint32_t kTriggers = 3;  // ids 1, 2, 3

  // `seed` chooses the chain and the draws.
  explicit BigramBackcopy(std::uint64_t seed);

  static bool is_trigger(std::uint32_t token) { return token >= 1 && token <= kTriggers; }

  // Sequence `index` of a split, as long as `out`: a pure function of (seed, split, index, length).
  void sequence(std::string_view split, std::uint64_t index, std::span<std::uint32_t> out) const;

 private:
  std::uint64_t seed_;
  // Per token, kVocabSize − 1 − kTriggers plain tokens by rank.
  std::vector<std::vector<std::uint32_t>> ranked_;
  std::vector<std::uint64_t> cumulative_weight_;  // by rank
};

}  // namespace oasis
