#include "datasets/gsm8k/pass_at_1.h"

#include <fmt/format.h>

namespace oasis::gsm8k {

Verdicts judge_all(std::string_view text, std::string_view gold) {
  Verdicts verdicts;
  for (std::size_t i = 0; i < verdicts.size(); ++i) {
    verdicts[i] = judge(kAnswerRules[i], text, gold);
  }
  return verdicts;
}

std::string PassAt1::metric_name() const {
  return fmt::format("gsm8k_pass1_{}", to_string(rule));
}

std::vector<PassAt1> pass_at_1(const std::vector<Verdicts>& verdicts) {
  std::vector<PassAt1> counts;
  for (std::size_t i = 0; i < kAnswerRules.size(); ++i) {
    PassAt1 count{.rule = kAnswerRules[i], .n = static_cast<std::int64_t>(verdicts.size())};
    for (const auto& of_text : verdicts) {
      count.correct += of_text[i].correct ? 1 : 0;
      count.unanswered += of_text[i].extracted ? 0 : 1;
    }
    counts.push_back(count);
  }
  return counts;
}

}  // namespace oasis::gsm8k
