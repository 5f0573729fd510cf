// Pass@1: the share of problems whose one generated answer is right.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "datasets/gsm8k/answer_rules.h"
#include "support/wilson_interval.h"

namespace oasis::gsm8k {

// One text under every rule, in the order of kAnswerRules.
using Verdicts = std::array<Verdict, kAnswerRules.size()>;
Verdicts judge_all(std::string_view text, std::string_view gold);

struct PassAt1 {
  AnswerRule rule = AnswerRule::kStrict;
  std::int64_t correct = 0;
  std::int64_t unanswered = 0;  // the rule found nothing; counted wrong
  std::int64_t n = 0;           // problems

  std::string metric_name() const;  // "gsm8k_pass1_strict", …
  double value() const { return static_cast<double>(correct) / static_cast<double>(n); }  // n > 0
  Interval interval() const { return wilson_interval(correct, n); }                       // 95 %
};

// One for each rule, in the order of kAnswerRules.
std::vector<PassAt1> pass_at_1(const std::vector<Verdicts>& verdicts);

}  // namespace oasis::gsm8k
