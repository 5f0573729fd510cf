// Examples to fine-tune on: the zero-shot prompt of a problem, then its answer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "datasets/gsm8k/problems.h"
#include "datasets/tokenizer.h"

namespace oasis::gsm8k {

struct TrainingExample {
  // "Question: {question}\nAnswer:", " {answer}" and the end-of-text token.
  std::vector<std::uint32_t> tokens;
  // tokens[answer_begin] and all after it, end of text included, are predicted; the loss is of them
  // alone. At least 1.
  std::size_t answer_begin = 0;

  std::span<const std::uint32_t> prompt() const { return std::span(tokens).first(answer_begin); }
  std::span<const std::uint32_t> answer() const { return std::span(tokens).subspan(answer_begin); }
};

// The prompt is encoded by itself, as it is when the model is asked, so that the model is trained
// to go on from exactly the tokens that it will see.
TrainingExample training_example(const Problem& problem, const Tokenizer& tokenizer);

}  // namespace oasis::gsm8k
