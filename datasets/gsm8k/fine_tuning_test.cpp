#include "datasets/gsm8k/fine_tuning.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "datasets/gsm8k/prompts.h"
#include "datasets/sentencepiece_tokenizer.h"
#include "datasets/synthetic/word_problems.h"

namespace oasis::gsm8k {
namespace {

Problem generated(std::uint64_t index) {
  const auto problem = word_problem(1, "train", index);
  return {problem.question, problem.answer, gold_of(problem.answer)};
}

TEST(FineTuning, TheLossIsOfTheAnswerAlone) {
  const auto tokenizer = byte_tokenizer();
  const Problem problem = {"1+1?", "It is 2.\n#### 2", "2"};
  const auto example = training_example(problem, *tokenizer);
  EXPECT_EQ(tokenizer->decode(example.prompt()), "Question: 1+1?\nAnswer:");
  EXPECT_EQ(tokenizer->decode(example.answer()), " It is 2.\n#### 2");
  EXPECT_EQ(example.answer_begin, 22u);
  EXPECT_EQ(example.tokens.back(), tokenizer->end_of_text());
}

TEST(FineTuning, TheModelSeesTheTokensThatItWillBeAskedWith) {
  std::uint64_t next = 0;
  const auto model = train_sentencepiece(400, [&next](std::string& line) {
    if (next == 300) return false;
    line = generated(next++).question;
    return true;
  });
  const auto tokenizer = sentencepiece_from_model(model, "trained here");
  for (std::uint64_t i = 0; i < 20; ++i) {
    const auto problem = generated(i);
    const auto example = training_example(problem, *tokenizer);
    const auto asked = tokenizer->encode(question_block(problem));
    EXPECT_TRUE(std::ranges::equal(example.prompt(), asked));
    EXPECT_EQ(tokenizer->decode(example.answer()), " " + problem.answer);
    EXPECT_EQ(example.tokens.back(), tokenizer->end_of_text());
  }
}

}  // namespace
}  // namespace oasis::gsm8k
