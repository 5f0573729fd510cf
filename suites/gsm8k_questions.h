// What GSM8K asks and what it trains on: problems as prompts, and as solved examples.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "datasets/description.h"
#include "datasets/folders.h"
#include "datasets/gsm8k/problems.h"
#include "datasets/gsm8k/prompts.h"

namespace oasis {

// Problems and the prompts' texts, by place in the split.
struct Gsm8kQuestions {
  Gsm8kQuestions() = default;
  // The first `limit` problems of the split, 0: all. Throws Error (bad input) naming data set,
  // split or file.
  Gsm8kQuestions(const DatasetDescription& description, const std::string& split,
                 const gsm8k::FewShot& few_shot, std::int64_t limit, const DataFolders& folders);

  std::vector<gsm8k::Problem> problems;
  std::vector<std::string> prompts;
  std::string sha256;  // of prompts and right answers
};

// Of questions and answers, in their order.
std::string problems_sha256(const std::vector<gsm8k::Problem>& problems);

// The strings that end an answer; the end-of-text token does too.
const std::vector<std::string>& gsm8k_stops();

}  // namespace oasis
