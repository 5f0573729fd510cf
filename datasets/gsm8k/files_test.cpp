#include <gtest/gtest.h>

#include <functional>

#include "datasets/gsm8k/generations_file.h"
#include "datasets/gsm8k/problems.h"
#include "datasets/random.h"
#include "datasets/registry.h"
#include "datasets/synthetic/word_problems.h"
#include "datasets/test_support.h"

namespace oasis::gsm8k {
namespace {

const std::string kProblem = R"({"question": "1+1?", "answer": "It is 2.\n#### 2"})";

class Files : public ::testing::Test {
 protected:
  std::string problems_refused(const std::string& text) {
    write_text(file_, text);
    return message_of([&] { read_problems(file_); });
  }
  std::string generations_refused(const std::string& text) {
    write_text(file_, text);
    return message_of([&] { read_generations(file_, 3); });
  }

  TestFolder folder_;
  std::filesystem::path file_ = folder_ / "f.jsonl";
};

TEST_F(Files, ProblemsAndTheirGoldAnswers) {
  write_text(file_, kProblem + "\r\n\n" +
                        R"({"answer": "#### -1,234.5", "id": 7, "question": "Caf\u00e9?"})");
  const auto problems = read_problems(file_);
  ASSERT_EQ(problems.size(), 2u);
  EXPECT_EQ(problems[0].question, "1+1?");
  EXPECT_EQ(problems[0].answer, "It is 2.\n#### 2");
  EXPECT_EQ(problems[0].gold, "2");
  EXPECT_EQ(problems[1].question, "Caf\u00e9?");
  EXPECT_EQ(problems[1].gold, "-1,234.5");
}

TEST_F(Files, ProblemsOfADataSet) {
  write_text(folder_ / "gsm8k/test.jsonl", kProblem + "\n" + kProblem);
  const DataFolders folders = {.home = folder_.path(), .cache = folder_ / "cache"};
  auto description = dataset_entry("gsm8k").description;
  EXPECT_EQ(problems_of(description, "test", folders).size(), 2u);
  EXPECT_TRUE(contains(message_of([&] { problems_of(description, "train", folders); }),
                       "gsm8k/train.jsonl"));
  description.splits["test"].max_bytes = 5;
  EXPECT_TRUE(
      contains(message_of([&] { problems_of(description, "test", folders); }), "max_bytes"));

  description = dataset_entry("word_problems").description;
  description.splits["test"].count = 50;
  const auto generated = problems_of(description, "test", folders);
  ASSERT_EQ(generated.size(), 50u);
  EXPECT_EQ(generated[49].question, word_problem(description.seed, "test", 49).question);
  for (const auto& problem : generated) {
    EXPECT_TRUE(problem.answer.ends_with("\n#### " + problem.gold) && !problem.gold.empty());
  }
  EXPECT_TRUE(contains(message_of([&] {
                         problems_of(dataset_entry("bigram_backcopy").description, "test", folders);
                       }),
                       "'bigram_backcopy' holds no problems"));
}

TEST_F(Files, BadGoldAnswersAreNotTaken) {
  for (const char* answer :
       {"", "2", "#### ", "####2", "#### two", "#### $2", "#### 2.", "#### 2 ", "#### 2\n",
        "so #### 2", "#### 1\n#### 2", "#### ,2", "#### --2", "##### 2", "#### \uff12"}) {
    EXPECT_EQ(gold_of(answer), "") << answer;
  }
}

TEST_F(Files, BadProblemsAreNamedByLineAndField) {
  EXPECT_TRUE(contains(problems_refused(kProblem + "\n{\"question\": \"x\"}\n"),
                       "f.jsonl: line 2: field 'answer' is missing"));
  EXPECT_TRUE(contains(problems_refused(R"({"question": 3, "answer": "#### 2"})"),
                       "line 1: field 'question' must be a string, not number"));
  EXPECT_TRUE(contains(problems_refused("[1]"), "line 1: must be a JSON object, not array"));
  EXPECT_TRUE(contains(problems_refused("\n{\"question"), "line 2 is not valid JSON"));
  EXPECT_TRUE(contains(problems_refused("{\"question\": \"\xff\"}"), "line 1 is not valid JSON"));
  EXPECT_TRUE(contains(problems_refused(R"({"question": "x", "answer": "a\nIt is \u0000\t2."})"),
                       R"(it ends with "It is \u0000\t2.")"));
  EXPECT_TRUE(contains(problems_refused("\n\n"), "holds no problem"));
  EXPECT_TRUE(contains(message_of([&] { read_problems(folder_ / "none.jsonl"); }), "none.jsonl"));
}

TEST_F(Files, GenerationsByIndexOrId) {
  write_text(file_, R"({"index": 2, "text": "#### 2", "prompt": "x"})"
                    "\n"
                    R"({"text": "", "id": 0})");
  const auto generations = read_generations(file_, 3);
  ASSERT_EQ(generations.size(), 2u);
  EXPECT_EQ(generations[0].problem, 2);
  EXPECT_EQ(generations[0].text, "#### 2");
  EXPECT_EQ(generations[1].problem, 0);
  EXPECT_EQ(generations[1].text, "");
}

TEST_F(Files, BadGenerationsAreNamedByLineAndField) {
  const std::string good = R"({"index": 1, "text": "a"})";
  EXPECT_TRUE(
      contains(generations_refused(good + "\n" + good), "line 2: a second text for problem 1"));
  EXPECT_TRUE(contains(generations_refused(R"({"index": 3, "text": "a"})"),
                       "field 'index' must be a whole number from 0 to 2, not 3"));
  for (const char* index : {"-1", "1.0", "\"1\"", "null", "18446744073709551616"}) {
    EXPECT_TRUE(contains(generations_refused(fmt::format(R"({{"id": {}, "text": "a"}})", index)),
                         "line 1: field 'id' must be"));
  }
  EXPECT_TRUE(contains(generations_refused(R"({"text": "a"})"), "'index' and 'id'"));
  EXPECT_TRUE(contains(generations_refused(R"({"id": 1, "index": 1, "text": "a"})"), "one of"));
  EXPECT_TRUE(contains(generations_refused(R"({"index": 1})"), "field 'text' is missing"));
  EXPECT_TRUE(contains(generations_refused(""), "holds no generated text"));
}

// Damaged files are read or refused by an Error; nothing else happens.
void fuzz(const std::filesystem::path& file, const std::string& valid,
          const std::function<void()>& read) {
  Random random(11);
  int refused = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string text = valid;
    for (auto changes = 1 + random.below(4); changes > 0 && !text.empty(); --changes) {
      const auto place = random.below(text.size());
      switch (random.below(4)) {
        case 0:
          text[place] = static_cast<char>(random.below(256));
          break;
        case 1:
          text.erase(place, 1 + random.below(8));
          break;
        case 2:
          text.insert(place, text.substr(random.below(text.size()), random.below(30)));
          break;
        default:
          text.resize(place);
      }
    }
    write_text(file, text);
    try {
      read();
    } catch (const Error& error) {
      ASSERT_EQ(error.exit_status(), 2) << error.what();
      ++refused;
    }
  }
  EXPECT_GT(refused, 500);
  EXPECT_LT(refused, 3000);
}

TEST_F(Files, DamagedFilesNeverCrash) {
  fuzz(file_, kProblem + "\n" + kProblem + "\n", [&] {
    for (const auto& problem : read_problems(file_)) ASSERT_NE(problem.gold, "");
  });
  fuzz(file_, "{\"index\": 2, \"text\": \"#### 2\"}\n{\"id\": 0, \"text\": \"\\u00e9 $1,000\"}\n",
       [&] {
         for (const auto& generation : read_generations(file_, 3)) ASSERT_LT(generation.problem, 3);
       });
}

}  // namespace
}  // namespace oasis::gsm8k
