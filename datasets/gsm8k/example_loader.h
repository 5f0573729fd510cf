// Batches of fine-tuning examples, padded on the right, in an order that needs no state.
#pragma once

#include <cstdint>
#include <vector>

#include "datasets/gsm8k/fine_tuning.h"

namespace oasis::gsm8k {

inline constexpr std::int64_t kNoTarget = -100;  // as PyTorch's cross_entropy ignores it

struct ExampleBatch {
  std::int64_t rows = 0, length = 0;
  std::vector<std::int64_t> tokens;   // [rows, length], row-major; padding after a row's example
  std::vector<std::int64_t> targets;  // the next token where it is of an answer, else kNoTarget
  std::int64_t example_tokens = 0;    // without padding
};

// Sample k is entry k mod n of the permutation of epoch k / n, a function of (seed, epoch); step s
// with B examples takes samples sB … sB + B − 1, so the stream does not depend on B. Examples
// stand in rows of their own and padding stands behind them, so under causal attention none sees
// another.
class ExampleLoader {
 public:
  // An example longer than `max_length` tokens loses the left of its question, as prompts do.
  // `padding`: any token. Throws Error (bad input) for no example, and naming the example and the
  // length it needs when an answer and one token before it do not fit.
  ExampleLoader(std::vector<TrainingExample> examples, std::int64_t max_length, std::uint64_t seed,
                std::uint32_t padding);

  std::int64_t count() const { return static_cast<std::int64_t>(examples_.size()); }
  std::int64_t longest() const { return longest_; }  // tokens of an example
  std::int64_t cut() const { return cut_; }          // examples that lost some of their question

  // As long as the longest example in it, or `length` where that is more.
  ExampleBatch batch(std::uint64_t step, std::int64_t rows, std::int64_t length = 0) const;
  // Of the examples of steps 0 … steps − 1, without padding.
  std::int64_t tokens_until(std::int64_t steps, std::int64_t rows) const;

 private:
  const TrainingExample& sample(std::uint64_t k) const;

  std::vector<TrainingExample> examples_;
  std::uint64_t seed_;
  std::uint32_t padding_;
  std::int64_t longest_ = 0, cut_ = 0;
  std::int64_t tokens_ = 0;  // of all examples
  mutable std::uint64_t epoch_ = 0;
  mutable std::vector<std::uint32_t> order_;  // of that epoch; empty until first asked for
};

}  // namespace oasis::gsm8k
