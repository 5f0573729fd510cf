// From a generated text to right or wrong, under four rules. Where the rules come from:
//
//   strict, flexible  lm-evaluation-harness, task `gsm8k` version 3: its filters `strict-match` and
//                     `flexible-extract`, and its exact match
//   openai            the published code of Cobbe et al. 2021 (arXiv 2110.14168)
//   numeric           ours: flexible, with "18.00" equal to 18
//
// A rule never changes: what would change a verdict is a new rule with a new name.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace oasis::gsm8k {

enum class AnswerRule { kStrict, kFlexible, kOpenai, kNumeric };
inline constexpr std::array kAnswerRules = {AnswerRule::kStrict, AnswerRule::kFlexible,
                                            AnswerRule::kOpenai, AnswerRule::kNumeric};
std::string_view to_string(AnswerRule rule);  // "strict", …

// Generation stops at the first of these, and at the end-of-text token.
inline constexpr std::array<std::string_view, 3> kStopStrings = {"Question:", "</s>", "<|im_end|>"};

// The text up to the first stop string.
std::string_view cut_at_stop(std::string_view text);

struct Verdict {
  std::optional<std::string> extracted;  // as it stands in the text; empty: the rule found nothing
  bool correct = false;
};

// `text`: any bytes, cut at the first stop string before it is looked at. `gold`: Problem::gold.
Verdict judge(AnswerRule rule, std::string_view text, std::string_view gold);

}  // namespace oasis::gsm8k
