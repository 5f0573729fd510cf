// One stage that lets a model answer GSM8K's problems: texts into the database as they are made,
// scores when all are there. A stage that was killed goes on after the last stored text.
#pragma once

#include <cstdint>
#include <string>

#include "datasets/gsm8k/prompts.h"
#include "results/store.h"
#include "suites/generation_flags.h"
#include "suites/gsm8k_questions.h"
#include "suites/stop.h"
#include "support/progress_line.h"

namespace oasis {

struct Gsm8kTask {
  std::string dataset = "gsm8k", split = "test";  // or word_problems
  gsm8k::FewShot few_shot;
  std::int64_t limit = 0;  // the first this many problems; 0: all
};

struct Gsm8kStage {
  std::int64_t id = 0;
  StageSpec spec = {};
  bool known = false;     // was done before
  bool finished = false;  // is done now; else interrupted
  std::int64_t resumed = 0, cut_prompts = 0;
};

// Plans the stage and, unless the database holds it finished, answers what it does not hold yet.
// What determines its key: weights, configuration, tokenizer, questions, precision and
// quantization; not the batch size, the device or the number of threads, which change texts within
// rounding alone. Throws Error (failed) when another process works on it.
Gsm8kStage answer_gsm8k(Store& store, const Gsm8kTask& task, const Gsm8kQuestions& questions,
                        const GenerationFlags& flags, const StopSource& stop,
                        ProgressLine& progress);

}  // namespace oasis
