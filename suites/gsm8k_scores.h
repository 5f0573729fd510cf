// From generated answers to what a stage stores of them, and the same again when rules change.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "results/store.h"

namespace oasis {

struct Gsm8kScores {
  std::vector<GenerationScore> scores;  // of every text under every rule
  std::vector<MetricRow> metrics;       // gsm8k_pass1_{rule}, with its 95 % Wilson interval
};

// Both go into the StageResult of the stage that generated the texts. Without texts the metrics
// have no value.
Gsm8kScores score_generations(const std::vector<GenerationRow>& generations);

struct RescoredRule {
  std::string rule = {};
  std::int64_t correct_before = 0, correct_now = 0;
  std::int64_t scored_first = 0;  // texts that had no score under this rule
  std::vector<std::int64_t> turned_right = {}, turned_wrong = {};  // problems
  std::int64_t extracted_otherwise = 0;  // texts in which another answer is found than before
};

struct RescoredStage {
  StageRow stage = {};
  std::int64_t n = 0;  // texts
  std::vector<RescoredRule> rules = {};
  bool changed = false;  // scores or metrics were not as they are now
};

// Scores the stored texts of every finished stage anew, or of the one whose key begins with
// `key_prefix`, and stores what differs; nothing is generated, and a second call changes nothing.
// Throws Error (bad input) naming the database when it holds no text, or none or several of such a
// key.
std::vector<RescoredStage> rescore(Store& store, std::string_view key_prefix = "");

}  // namespace oasis
