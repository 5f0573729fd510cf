#include "datasets/gsm8k/example_loader.h"

#include <algorithm>
#include <utility>

#include "datasets/random.h"
#include "support/error.h"

namespace oasis::gsm8k {

ExampleLoader::ExampleLoader(std::vector<TrainingExample> examples, std::int64_t max_length,
                             std::uint64_t seed, std::uint32_t padding)
    : examples_(std::move(examples)), seed_(seed), padding_(padding) {
  if (examples_.empty()) throw bad_input("there is no example to fine-tune on");
  for (std::size_t i = 0; i < examples_.size(); ++i) {
    auto& example = examples_[i];
    const auto answer = std::ssize(example.answer());
    if (answer + 1 > max_length) {
      throw bad_input(
          "training problem {}: its answer has {} tokens, which with one before them is more than "
          "the {} of an example; allow longer ones",
          i, answer, max_length);
    }
    if (const auto excess = std::ssize(example.tokens) - max_length; excess > 0) {
      example.tokens.erase(example.tokens.begin(), example.tokens.begin() + excess);
      example.answer_begin -= static_cast<std::size_t>(excess);
      ++cut_;
    }
    longest_ = std::max(longest_, std::ssize(example.tokens));
    tokens_ += std::ssize(example.tokens);
  }
}

const TrainingExample& ExampleLoader::sample(std::uint64_t k) const {
  const std::uint64_t n = examples_.size();
  const std::uint64_t epoch = k / n;
  if (order_.empty() || epoch != epoch_) {
    order_ = permutation(static_cast<std::uint32_t>(n), seed_, epoch);
    epoch_ = epoch;
  }
  return examples_[order_[k % n]];
}

ExampleBatch ExampleLoader::batch(std::uint64_t step, std::int64_t rows,
                                  std::int64_t length) const {
  ExampleBatch batch{.rows = rows, .length = length, .tokens = {}, .targets = {}};
  const std::uint64_t first = step * static_cast<std::uint64_t>(rows);
  std::vector<const TrainingExample*> chosen;
  for (std::int64_t i = 0; i < rows; ++i) {
    chosen.push_back(&sample(first + static_cast<std::uint64_t>(i)));
    batch.length = std::max(batch.length, std::ssize(chosen.back()->tokens));
    batch.example_tokens += std::ssize(chosen.back()->tokens);
  }
  const auto width = static_cast<std::size_t>(batch.length);
  batch.tokens.assign(chosen.size() * width, padding_);
  batch.targets.assign(chosen.size() * width, kNoTarget);
  for (std::size_t row = 0; row < chosen.size(); ++row) {
    const auto& example = *chosen[row];
    std::ranges::copy(example.tokens,
                      batch.tokens.begin() + static_cast<std::ptrdiff_t>(row * width));
    for (std::size_t t = example.answer_begin; t < example.tokens.size(); ++t) {
      batch.targets[row * width + t - 1] = example.tokens[t];
    }
  }
  return batch;
}

std::int64_t ExampleLoader::tokens_until(std::int64_t steps, std::int64_t rows) const {
  const std::int64_t samples = steps * rows;
  std::int64_t tokens = samples / count() * tokens_;
  for (std::int64_t k = samples / count() * count(); k < samples; ++k) {
    tokens += std::ssize(sample(static_cast<std::uint64_t>(k)).tokens);
  }
  return tokens;
}

}  // namespace oasis::gsm8k
