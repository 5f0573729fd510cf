// GSM8K's problems: grade-school arithmetic word problems (Cobbe et al. 2021, arXiv 2110.14168).
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "datasets/description.h"
#include "datasets/folders.h"

namespace oasis::gsm8k {

struct Problem {
  std::string question;
  std::string answer;  // the steps, with <<a+b=c>>, then a last line "#### N"
  std::string gold;    // that N as written: "18", "1,234", "-3"
};

// N of an answer that ends with the line "#### N". "" when it does not, when "####" stands in it a
// second time (the scoring rules would then disagree about the gold answer), or when N is no
// number: digits, commas after the first, perhaps a minus before and decimals after a point.
std::string gold_of(std::string_view answer);

// The problems of a file (.jsonl, .jsonl.zst; fields `question` and `answer`, others are ignored),
// in its order. Throws Error (bad input) naming file, line and field; an empty file is an error.
std::vector<Problem> read_problems(const std::filesystem::path& file);

// The problems of a data set's split: its files', one after the other, or word_problems' generated
// ones. Throws Error (bad input) for a data set of another kind, for a split cut by max_bytes, and
// as read_problems and locate() do.
std::vector<Problem> problems_of(const DatasetDescription& description, const std::string& split,
                                 const DataFolders& folders);

}  // namespace oasis::gsm8k
