// The data of a suite, opened: tokenizers and token splits, made at first use and then cached, and
// the checkpoints that its models continue from.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "datasets/folders.h"
#include "datasets/shards.h"
#include "datasets/tokenizer.h"
#include "suites/gsm8k_questions.h"
#include "suites/plan.h"
#include "support/progress_line.h"

namespace oasis {

// What GSM8K asks before fine-tuning and after it, and what that trains on.
struct OpenedGsm8k {
  Gsm8kQuestions few_shot, zero_shot;
  std::vector<gsm8k::Problem> training;

  const Gsm8kQuestions& questions(const Stage& stage) const {
    return stage.after_fine_tuning ? zero_shot : few_shot;
  }
};

struct OpenedSuiteData {
  struct ForTraining {
    TokenizerPtr tokenizer;
    TokenSplitPtr train;
    std::map<std::string, TokenSplitPtr> evaluated;  // by data set name
  };
  std::map<std::string, ForTraining> by_dataset;          // by the name of the data set trained on
  std::map<std::string, CheckpointIdentity> checkpoints;  // by the name of the model
  std::optional<OpenedGsm8k> gsm8k;

  SuiteData identities() const;
};

// `source` names the suite in messages. Throws Error (bad input) for missing or damaged files, and
// for a data set that the tokenizer trained with cannot read or that is not a checkpoint's own.
OpenedSuiteData open_suite_data(const Suite& suite, const DataFolders& folders,
                                const std::string& source, ProgressLine& progress);

}  // namespace oasis
