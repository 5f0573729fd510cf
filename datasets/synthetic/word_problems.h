// Arithmetic word problems in GSM8K's answer format (Cobbe et al. 2021, arXiv 2110.14168), so small
// that Pass@1 of a tiny model is not zero:
//
//   Question: Mia has 12 apples. She buys 7 more and gives 5 to Tom. How many apples does Mia have?
//   Answer: After buying, Mia has 12+7=<<12+7=19>>19 apples.
//   After giving, Mia has 19-5=<<19-5=14>>14 apples.
//   #### 14
//
// One or two steps with + − ×; every number is a whole one from 0 to 400.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace oasis {

struct WordProblem {
  std::string question;
  std::string answer;  // steps with <<a+b=c>>, then "#### N"
};

// Problem `index` of a split: a pure function of its arguments. A question belongs to one split
// whatever the seed: a hash of its text decides (8 in 10 train, 1 valid, 1 test), so no test
// question is ever trained on. Throws Error (bad input) for a split that is none of the three.
WordProblem word_problem(std::uint64_t seed, std::string_view split, std::uint64_t index);

// "Question: …\nAnswer: …", as documents.h joins GSM8K's fields.
std::string document(const WordProblem& problem);

}  // namespace oasis
