// Prompts as lm-evaluation-harness's task `gsm8k`, version 3, makes them: solved problems, then the
// question, blocks joined by a blank line:
//
//   Question: {question}\nAnswer: {answer}\n\nQuestion: {question}\nAnswer:
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "datasets/gsm8k/problems.h"

namespace oasis::gsm8k {

inline constexpr std::int64_t kMaxNewTokens = 256;  // greedy decoding ends there at the latest

struct FewShot {
  std::uint32_t shots = 5;  // solved problems before each question; 0 after fine-tuning
  std::uint64_t seed = 1234;
};

// "Question: {question}\nAnswer:", a prompt by itself where there are no shots.
std::string question_block(const Problem& problem);

// Which examples each of the first `questions` questions gets. One CPython random.Random(seed)
// draws for all of them, in their order, so that a draw belongs to its question and depends neither
// on batches nor on which other questions are asked. Throws Error (bad input) for fewer examples
// than shots.
std::vector<std::vector<std::uint32_t>> draw_shots(const FewShot& few_shot, std::size_t examples,
                                                   std::size_t questions);

// The prompt of problems[i] with the examples that draw_shots gives it, for every i. `examples` is
// the training split and `problems` the first of the test split, both in their files' order.
std::vector<std::string> make_prompts(std::span<const Problem> problems,
                                      std::span<const Problem> examples, const FewShot& few_shot);

// Cuts a prompt's tokens on the left, so that it fits with `max_new_tokens` in the context. Throws
// Error (bad input) when not one token of it would be left.
void fit_context(std::vector<std::uint32_t>& prompt, std::int64_t context_length,
                 std::int64_t max_new_tokens = kMaxNewTokens);

}  // namespace oasis::gsm8k
