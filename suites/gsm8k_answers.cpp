#include "suites/gsm8k_answers.h"

#include <fmt/format.h>

#include <chrono>
#include <set>

namespace oasis {

Answering answer_questions(const GenerationModel& model, const Tokenizer& tokenizer,
                           const Gsm8kQuestions& questions, const std::vector<GenerationRow>& known,
                           const GenerationOptions& options, const AnswerSink& sink) {
  std::set<std::int64_t> answered;
  for (const auto& row : known) answered.insert(row.problem);
  Answering result;
  std::vector<std::int64_t> asked;
  std::vector<Prompt> prompts;
  for (std::size_t i = 0; i < questions.prompts.size(); ++i) {
    if (answered.contains(static_cast<std::int64_t>(i))) continue;
    asked.push_back(static_cast<std::int64_t>(i));
    auto& prompt = prompts.emplace_back(tokenizer.encode(questions.prompts[i]));
    const auto& config = model.decoder().config();
    result.cut_prompts += fit_prompt(prompt, config, options.max_new_tokens) > 0 ? 1 : 0;
  }
  auto done = static_cast<double>(answered.size());
  std::int64_t tokens = 0;
  const auto began = std::chrono::steady_clock::now();
  const auto ended = [&](std::size_t i, const GeneratedText& text) {
    const auto problem = asked[i];
    sink.answered({.problem = problem,
                   .gold = questions.problems[static_cast<std::size_t>(problem)].gold,
                   .text = text.text(),
                   .tokens = text.tokens()});
    tokens += text.tokens();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - began;
    sink.progress(++done,
                  fmt::format("{:.0f} tokens/s", static_cast<double>(tokens) / seconds.count()));
  };
  result.whole =
      prompts.empty() ||
      generate_texts(model, tokenizer, prompts,
                     {.options = options, .stops = gsm8k_stops(), .interrupted = sink.interrupted},
                     ended);
  return result;
}

}  // namespace oasis
