#include "datasets/gsm8k/fine_tuning.h"

#include "datasets/gsm8k/prompts.h"

namespace oasis::gsm8k {

TrainingExample training_example(const Problem& problem, const Tokenizer& tokenizer) {
  TrainingExample example;
  tokenizer.encode(question_block(problem), example.tokens);
  example.answer_begin = example.tokens.size();
  tokenizer.encode(" " + problem.answer, example.tokens);
  example.tokens.push_back(tokenizer.end_of_text());
  return example;
}

}  // namespace oasis::gsm8k
