#include "datasets/gsm8k/prompts.h"

#include <gtest/gtest.h>

#include "datasets/test_support.h"

namespace oasis::gsm8k {
namespace {

using Draws = std::vector<std::vector<std::uint32_t>>;

TEST(Prompts, DrawsOfTheFirstThreeQuestions) {
  const Draws first = {
      {6374, 3610, 957, 61, 742}, {7462, 6610, 4769, 286, 5501}, {5677, 687, 806, 6279, 2905}};
  EXPECT_EQ(draw_shots({}, 7473, 3), first);
  // A draw belongs to its question, however many are asked.
  const auto all = draw_shots({}, 7473, 1319);
  EXPECT_EQ(Draws(all.begin(), all.begin() + 3), first);
}

TEST(Prompts, BlocksJoinedByABlankLine) {
  const std::vector<Problem> examples = {
      {"1+1?", "1+1=<<1+1=2>>2\n#### 2", "2"}, {"Two?", "#### 2", "2"}, {"Three?", "#### 3", "3"}};
  const std::vector<Problem> problems = {{"4?", "#### 4", "4"}, {"5?", "#### 5", "5"}};
  EXPECT_EQ(make_prompts(problems, examples, {.shots = 0}),
            (std::vector<std::string>{"Question: 4?\nAnswer:", "Question: 5?\nAnswer:"}));
  // random.Random(1234).sample(range(3), 2), twice: [1, 0], [0, 2]
  EXPECT_EQ(make_prompts(problems, examples, {.shots = 2}),
            (std::vector<std::string>{
                "Question: Two?\nAnswer: #### 2\n\n"
                "Question: 1+1?\nAnswer: 1+1=<<1+1=2>>2\n#### 2\n\nQuestion: 4?\nAnswer:",
                "Question: 1+1?\nAnswer: 1+1=<<1+1=2>>2\n#### 2\n\n"
                "Question: Three?\nAnswer: #### 3\n\nQuestion: 5?\nAnswer:"}));
  EXPECT_TRUE(contains(message_of([&] { make_prompts(problems, examples, {.shots = 4}); }),
                       "4 shots were asked for, but there are 3 examples"));
}

TEST(Prompts, ContextIsCutOnTheLeft) {
  std::vector<std::uint32_t> prompt = {1, 2, 3, 4, 5};
  fit_context(prompt, 261);
  EXPECT_EQ(prompt.size(), 5u);
  fit_context(prompt, 259);
  EXPECT_EQ(prompt, (std::vector<std::uint32_t>{3, 4, 5}));
  fit_context(prompt, 9, 8);
  EXPECT_EQ(prompt, std::vector<std::uint32_t>{5});
  EXPECT_TRUE(contains(message_of([&] { fit_context(prompt, 256); }), "context of 256 tokens"));
}

}  // namespace
}  // namespace oasis::gsm8k
