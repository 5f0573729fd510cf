// A model answers problems: prompts in, texts out as they end. Who stores them is the caller's
// business.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "datasets/tokenizer.h"
#include "results/store.h"
#include "suites/gsm8k_questions.h"
#include "suites/text_generation.h"

namespace oasis {

struct AnswerSink {
  std::function<void(GenerationRow row)> answered;
  std::function<bool()> interrupted;
  // Problems answered, those known before included; `detail`: "812 tokens/s".
  std::function<void(double done, const std::string& detail)> progress;
};

struct Answering {
  bool whole = false;            // every problem has its text now
  std::int64_t cut_prompts = 0;  // did not fit and were cut on the left
};

// Asks every problem that `known` does not hold. Throws Error (bad input) when the model's context
// has no room for a prompt beside the new tokens.
Answering answer_questions(const GenerationModel& model, const Tokenizer& tokenizer,
                           const Gsm8kQuestions& questions, const std::vector<GenerationRow>& known,
                           const GenerationOptions& options, const AnswerSink& sink);

}  // namespace oasis
