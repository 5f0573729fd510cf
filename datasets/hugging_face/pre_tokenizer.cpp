#include "datasets/hugging_face/pre_tokenizer.h"

#include <algorithm>
#include <array>

#include "datasets/hugging_face/regex_syntax.h"
#include "datasets/utf8.h"

namespace oasis {
namespace {

constexpr std::array<std::string_view, 4> kLinePatterns = {
    kGpt2Pattern,
    kDigitPattern,
    // Llama 3
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)",
    // Qwen 2 and 3
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)",
};

}  // namespace

PreTokenizer::PreTokenizer(const std::vector<PreTokenizerStep>& steps) {
  for (const auto& step : steps) {
    const bool known = step.pattern.empty() || std::find(kLinePatterns.begin(), kLinePatterns.end(),
                                                         step.pattern) != kLinePatterns.end();
    lines_are_independent_ = lines_are_independent_ && known && !step.add_prefix_space;
    auto& made =
        steps_.emplace_back(Step{step.add_prefix_space, std::nullopt, step.behavior, step.invert});
    if (step.pattern.empty()) continue;
    if (step.literal) {
      made.regex.emplace(step.pattern, Regex::Syntax::kLiteral, step.where);
    } else {
      made.regex.emplace(pcre2_syntax(step.pattern, step.where), Regex::Syntax::kPattern,
                         step.where);
    }
  }
}

void PreTokenizer::run(std::size_t step, std::string_view text, RegexState& state,
                       const Take& take) const {
  if (text.empty()) return;
  if (step == steps_.size()) return take(text);
  if (steps_[step].add_prefix_space && text.front() != ' ') {
    return cut(step, " " + std::string(text), state, take);
  }
  cut(step, text, state, take);
}

void PreTokenizer::cut(std::size_t index, std::string_view text, RegexState& state,
                       const Take& take) const {
  const auto& step = steps_[index];
  if (!step.regex) return run(index + 1, text, state, take);
  const auto next = [&](std::size_t begin, std::size_t end, bool matches) {
    if (matches && step.behavior == SplitBehavior::kRemoved) return;
    run(index + 1, text.substr(begin, end - begin), state, take);
  };
  std::size_t done = 0;  // what lies before was given to the next step
  std::size_t from = 0;
  while (from <= text.size()) {
    const auto match = step.regex->find(text, from, state);
    if (!match) break;
    next(done, match->begin, step.invert);
    next(match->begin, match->end, !step.invert);
    done = match->end;
    from = match->end;
    if (match->begin == match->end) {
      from += from < text.size() ? character_length(text.substr(from)) : 1;
    }
  }
  next(done, text.size(), step.invert);
}

}  // namespace oasis
