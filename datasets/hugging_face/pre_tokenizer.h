// Cuts text into the words that byte-level BPE works on.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "datasets/hugging_face/description.h"
#include "datasets/hugging_face/regex.h"

namespace oasis {

// Of ByteLevel with use_regex.
inline constexpr const char* kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// Of Digits with individual_digits: Rust's char::is_numeric, which is general category N of Unicode
// 17 and so two ranges ahead of the rest.
inline constexpr const char* kDigitPattern = "[\U00011de0-\U00011de9\U00016ff4-\U00016ff6\\p{N}]";

// Immutable; safe from several threads, each with a regex state of its own.
class PreTokenizer {
 public:
  // Throws Error (bad input) naming the step whose pattern is wrong or not supported.
  explicit PreTokenizer(const std::vector<PreTokenizerStep>& steps);

  using Take = std::function<void(std::string_view)>;

  // Calls `take` with each word of `text` (valid UTF-8), from left to right; none is empty.
  void words(std::string_view text, RegexState& state, const Take& take) const {
    run(0, text, state, take);
  }

  // Whether text may be cut after a newline that has an ASCII character which prints on both sides,
  // with no other words than those of the whole. Known of the patterns of GPT-2, Llama 3 and Qwen
  // 2: no word of theirs goes on after such a newline, and none looks further ahead.
  bool lines_are_independent() const { return lines_are_independent_; }

 private:
  struct Step {
    bool add_prefix_space;
    std::optional<Regex> regex;
    SplitBehavior behavior;
    bool invert;
  };

  void run(std::size_t step, std::string_view text, RegexState& state, const Take& take) const;
  void cut(std::size_t step, std::string_view text, RegexState& state, const Take& take) const;

  std::vector<Step> steps_;
  bool lines_are_independent_ = true;
};

}  // namespace oasis
