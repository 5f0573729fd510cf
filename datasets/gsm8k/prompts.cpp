#include "datasets/gsm8k/prompts.h"

#include <fmt/format.h>

#include "datasets/gsm8k/python_random.h"
#include "support/error.h"

namespace oasis::gsm8k {

std::string question_block(const Problem& problem) {
  return fmt::format("Question: {}\nAnswer:", problem.question);
}

std::vector<std::vector<std::uint32_t>> draw_shots(const FewShot& few_shot, std::size_t examples,
                                                   std::size_t questions) {
  if (few_shot.shots > examples) {
    throw bad_input("{} shots were asked for, but there are {} examples to draw from",
                    few_shot.shots, examples);
  }
  PythonRandom random(few_shot.seed);
  std::vector<std::vector<std::uint32_t>> draws(questions);
  for (auto& draw : draws) {
    draw = random.sample(static_cast<std::uint32_t>(examples), few_shot.shots);
  }
  return draws;
}

std::vector<std::string> make_prompts(std::span<const Problem> problems,
                                      std::span<const Problem> examples, const FewShot& few_shot) {
  const auto draws = draw_shots(few_shot, examples.size(), problems.size());
  std::vector<std::string> prompts(problems.size());
  for (std::size_t i = 0; i < problems.size(); ++i) {
    for (const auto drawn : draws[i]) {
      const auto& example = examples[drawn];
      prompts[i] += fmt::format("{} {}\n\n", question_block(example), example.answer);
    }
    prompts[i] += question_block(problems[i]);
  }
  return prompts;
}

void fit_context(std::vector<std::uint32_t>& prompt, std::int64_t context_length,
                 std::int64_t max_new_tokens) {
  const std::int64_t room = context_length - max_new_tokens;
  if (room < 1) {
    throw bad_input(
        "a context of {} tokens has no room for a prompt and {} new tokens; use a longer context",
        context_length, max_new_tokens);
  }
  const auto length = static_cast<std::int64_t>(prompt.size());
  if (length > room) prompt.erase(prompt.begin(), prompt.end() - room);
}

}  // namespace oasis::gsm8k
