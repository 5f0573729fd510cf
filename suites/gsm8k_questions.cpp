#include "suites/gsm8k_questions.h"

#include "support/sha256.h"

namespace oasis {
namespace {

// Each text with its final zero, so that no two lists of texts are one string.
void add(Sha256& sum, const std::string& text) {
  sum.update(text.c_str(), text.size() + 1);
}

}  // namespace

Gsm8kQuestions::Gsm8kQuestions(const DatasetDescription& description, const std::string& split,
                               const gsm8k::FewShot& few_shot, std::int64_t limit,
                               const DataFolders& folders)
    : problems(gsm8k::problems_of(description, split, folders)) {
  std::vector<gsm8k::Problem> examples;
  if (few_shot.shots > 0) examples = gsm8k::problems_of(description, "train", folders);
  if (limit > 0 && limit < std::ssize(problems)) problems.resize(static_cast<std::size_t>(limit));
  prompts = gsm8k::make_prompts(problems, examples, few_shot);
  Sha256 sum;
  for (std::size_t i = 0; i < problems.size(); ++i) {
    add(sum, prompts[i]);
    add(sum, problems[i].gold);
  }
  sha256 = sum.hex();
}

std::string problems_sha256(const std::vector<gsm8k::Problem>& problems) {
  Sha256 sum;
  for (const auto& problem : problems) {
    add(sum, problem.question);
    add(sum, problem.answer);
  }
  return sum.hex();
}

const std::vector<std::string>& gsm8k_stops() {
  static const std::vector<std::string> stops = {"Question:", "</s>", "<|im_end|>"};
  return stops;
}

}  // namespace oasis
