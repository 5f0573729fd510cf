#include "datasets/gsm8k/problems.h"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "datasets/gsm8k/regex.h"
#include "datasets/json_lines.h"
#include "datasets/sources.h"
#include "datasets/synthetic/word_problems.h"
#include "support/error.h"

namespace oasis::gsm8k {
namespace {

constexpr std::size_t kShownBytes = 60;

// Quoted, its control characters escaped, and not too long for a message.
std::string shown(const std::string& text) {
  const nlohmann::json json(text.size() <= kShownBytes ? text : text.substr(0, kShownBytes) + "…");
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

std::string gold_of(std::string_view answer) {
  static const Regex kLastLine(R"((?:\A|\n)#### (-?[0-9][0-9,]*(?:\.[0-9]+)?)\z)");
  const auto match = kLastLine.find(answer);
  if (!match || answer.find("####") != answer.rfind("####")) return "";
  return std::string(match->group);
}

std::vector<Problem> read_problems(const std::filesystem::path& file) {
  JsonLines lines(file);
  std::vector<Problem> problems;
  nlohmann::json row;
  while (lines.next(row)) {
    Problem problem{lines.take_text(row, "question"), lines.take_text(row, "answer"), ""};
    problem.gold = gold_of(problem.answer);
    if (problem.gold.empty()) {
      throw bad_input(
          "{}: field 'answer' must end with a line '#### N', N a number, and hold '####' only "
          "there; it ends with {}",
          lines.where(), shown(problem.answer.substr(problem.answer.rfind('\n') + 1)));
    }
    problems.push_back(std::move(problem));
  }
  if (problems.empty()) {
    throw bad_input("{}: holds no problem; give a file of GSM8K problems", file.string());
  }
  return problems;
}

std::vector<Problem> problems_of(const DatasetDescription& description, const std::string& split,
                                 const DataFolders& folders) {
  const auto& wanted = description.split(split);
  std::vector<Problem> problems;
  if (description.kind == DatasetDescription::Kind::kWordProblems) {
    for (std::uint64_t i = 0; i < wanted.count; ++i) {
      auto [question, answer] = word_problem(description.seed, split, i);
      auto gold = gold_of(answer);
      problems.push_back({std::move(question), std::move(answer), std::move(gold)});
    }
    return problems;
  }
  if (description.kind != DatasetDescription::Kind::kFiles) {
    throw bad_input("data set '{}' holds no problems in GSM8K's format", description.name);
  }
  if (wanted.max_bytes > 0) {
    throw bad_input("data set '{}', split '{}': problems cannot be cut by max_bytes; leave it out",
                    description.name, split);
  }
  for (const auto& file : wanted.files) {
    auto more = read_problems(locate(description, file, folders));
    std::ranges::move(more, std::back_inserter(problems));
  }
  return problems;
}

}  // namespace oasis::gsm8k
