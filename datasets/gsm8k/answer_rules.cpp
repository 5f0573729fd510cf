#include "datasets/gsm8k/answer_rules.h"

#include <fmt/format.h>

#include <algorithm>

#include "datasets/gsm8k/regex.h"
#include "support/error.h"

namespace oasis::gsm8k {
namespace {

std::optional<std::string> after_marks(std::string_view text) {
  static const Regex kPattern(R"(#### (\-?[0-9\.\,]+))");
  const auto match = kPattern.find(text);
  return match ? std::optional<std::string>(match->group) : std::nullopt;
}

std::optional<std::string> last_number(std::string_view text) {
  static const Regex kPattern(R"((-?[$0-9.,]{2,})|(-?[0-9]+))");
  const auto match = kPattern.find_last(text);
  return match ? std::optional<std::string>(match->group) : std::nullopt;
}

std::string without_commas(std::string_view answer) {
  std::string kept(answer);
  std::erase(kept, ',');
  return kept;
}

// What is compared: without commas, dollar signs and one final point. The harness also drops all up
// to "#### ", which neither a match nor a gold answer holds.
std::string compared(std::string_view answer) {
  std::string kept = without_commas(answer);
  std::erase(kept, '$');
  if (kept.ends_with('.')) kept.pop_back();
  return kept;
}

// A decimal number written in one way only, so that equal numbers are equal texts whatever their
// length; "" when `text` is no number. "-018.50" → "-18.5", ".5" → "0.5", "-0" → "0".
std::string canonical_number(const std::string& text) {
  static const Regex kPattern(R"(\A-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)\z)");
  if (!kPattern.find(text)) return "";
  std::string_view whole = text;
  const bool negative = whole.starts_with('-');
  if (negative) whole.remove_prefix(1);
  const auto point = std::min(whole.find('.'), whole.size());
  auto decimals = whole.substr(std::min(point + 1, whole.size()));
  whole = whole.substr(0, point);
  whole.remove_prefix(std::min(whole.find_first_not_of('0'), whole.size()));
  decimals = decimals.substr(0, decimals.find_last_not_of('0') + 1);
  const bool zero = whole.empty() && decimals.empty();
  return fmt::format("{}{}{}{}", negative && !zero ? "-" : "", whole.empty() ? "0" : whole,
                     decimals.empty() ? "" : ".", decimals);
}

bool equal_numbers(std::string_view answer, std::string_view gold) {
  const auto number = canonical_number(compared(answer));
  return !number.empty() && number == canonical_number(compared(gold));
}

}  // namespace

std::string_view to_string(AnswerRule rule) {
  switch (rule) {
    case AnswerRule::kStrict:
      return "strict";
    case AnswerRule::kFlexible:
      return "flexible";
    case AnswerRule::kOpenai:
      return "openai";
    case AnswerRule::kNumeric:
      return "numeric";
  }
  throw failed("no such answer rule: {}", static_cast<int>(rule));
}

std::string_view cut_at_stop(std::string_view text) {
  for (const auto stop : kStopStrings) text = text.substr(0, text.find(stop));
  return text;
}

Verdict judge(AnswerRule rule, std::string_view text, std::string_view gold) {
  text = cut_at_stop(text);
  const bool marked = rule == AnswerRule::kStrict || rule == AnswerRule::kOpenai;
  Verdict verdict{.extracted = marked ? after_marks(text) : last_number(text)};
  if (!verdict.extracted) return verdict;
  const auto& answer = *verdict.extracted;
  switch (rule) {
    case AnswerRule::kStrict:
    case AnswerRule::kFlexible:
      verdict.correct = compared(answer) == compared(gold);
      break;
    case AnswerRule::kOpenai:
      verdict.correct = without_commas(answer) == without_commas(gold);
      break;
    case AnswerRule::kNumeric:
      verdict.correct = equal_numbers(answer, gold);
      break;
  }
  return verdict;
}

}  // namespace oasis::gsm8k
