#include "suites/commands/gsm8k_command.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "datasets/gsm8k/generations_file.h"
#include "datasets/gsm8k/pass_at_1.h"
#include "datasets/gsm8k/prompts.h"
#include "results/find_database.h"
#include "results/table_text.h"
#include "suites/commands/gsm8k_generate_command.h"
#include "suites/gsm8k_scores.h"
#include "suites/gsm8k_table.h"
#include "support/error.h"

namespace oasis {
namespace {

using OrderedJson = nlohmann::ordered_json;

constexpr const char* kProblemsHelp = "GSM8K problems: .jsonl with question and answer";

struct PromptsOptions {
  std::string problems, examples;
  gsm8k::FewShot few_shot;
};

struct ScoreOptions {
  std::string generations, problems;
  bool json = false;
};

struct RescoreOptions {
  std::string database, stage;
  bool json = false;
};

void print_prompts(const PromptsOptions& options) {
  const auto problems = gsm8k::read_problems(options.problems);
  std::vector<gsm8k::Problem> examples;
  if (options.few_shot.shots > 0) {
    if (options.examples.empty()) {
      throw bad_input("gsm8k prompts: {} shots need --examples FILE, the training problems",
                      options.few_shot.shots);
    }
    examples = gsm8k::read_problems(options.examples);
  }
  const auto draws = gsm8k::draw_shots(options.few_shot, examples.size(), problems.size());
  const auto prompts = gsm8k::make_prompts(problems, examples, options.few_shot);
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const OrderedJson row = {{"index", i}, {"examples", draws[i]}, {"prompt", prompts[i]}};
    fmt::print("{}\n", row.dump());
  }
}

OrderedJson problem_json(const gsm8k::Generation& generation, const std::string& gold,
                         const gsm8k::Verdicts& verdicts) {
  OrderedJson json = {{"index", generation.problem}, {"gold", gold}};
  for (std::size_t i = 0; i < verdicts.size(); ++i) {
    const auto& extracted = verdicts[i].extracted;
    json[std::string(to_string(gsm8k::kAnswerRules[i]))] = {
        {"extracted", extracted ? OrderedJson(*extracted) : OrderedJson()},
        {"correct", verdicts[i].correct}};
  }
  return json;
}

void print_score(const ScoreOptions& options) {
  const auto problems = gsm8k::read_problems(options.problems);
  const auto generations = gsm8k::read_generations(options.generations, problems.size());
  std::vector<gsm8k::Verdicts> verdicts;
  auto rows = OrderedJson::array();
  for (const auto& generation : generations) {
    const auto& gold = problems[static_cast<std::size_t>(generation.problem)].gold;
    verdicts.push_back(gsm8k::judge_all(generation.text, gold));
    if (options.json) rows.push_back(problem_json(generation, gold, verdicts.back()));
  }
  const auto counts = gsm8k::pass_at_1(verdicts);
  if (options.json) {
    auto metrics = OrderedJson::array();
    for (const auto& count : counts) metrics.push_back(pass_at_1_json(count));
    const OrderedJson json = {{"metrics", std::move(metrics)}, {"problems", std::move(rows)}};
    fmt::print("{}\n", json.dump(2));
    return;
  }
  fmt::print("{} of {} problems were answered\n\n", format_count(counts[0].n),
             format_count(static_cast<std::int64_t>(problems.size())));
  fmt::print("{}", pass_at_1_table(counts));
}

std::string problem_list(const std::vector<std::int64_t>& problems) {
  return problems.empty() ? "–" : fmt::format("{}", fmt::join(problems, ", "));
}

OrderedJson rescored_json(const RescoredStage& report) {
  auto rules = OrderedJson::array();
  for (const auto& rule : report.rules) {
    rules.push_back({{"rule", rule.rule},
                     {"correct_before", rule.correct_before},
                     {"correct_now", rule.correct_now},
                     {"scored_first", rule.scored_first},
                     {"extracted_otherwise", rule.extracted_otherwise},
                     {"turned_right", rule.turned_right},
                     {"turned_wrong", rule.turned_wrong}});
  }
  return {{"stage", report.stage.spec.key},
          {"evaluated_on", report.stage.spec.evaluated_on},
          {"n", report.n},
          {"changed", report.changed},
          {"rules", std::move(rules)}};
}

void print_rescored(const RescoredStage& report) {
  fmt::print("Stage {} · {} on {} · {} texts · {}\n\n", report.stage.spec.key,
             report.stage.spec.kind, report.stage.spec.evaluated_on, format_count(report.n),
             report.changed ? "scores changed" : "nothing changed");
  TextTable table{{{"Rule", false},
                   {"right before", true},
                   {"right now", true},
                   {"scored for the first time", true},
                   {"another answer found", true},
                   {"problems that turned right", false},
                   {"problems that turned wrong", false}},
                  {}};
  for (const auto& rule : report.rules) {
    table.rows.push_back({rule.rule, format_count(rule.correct_before),
                          format_count(rule.correct_now), format_count(rule.scored_first),
                          format_count(rule.extracted_otherwise), problem_list(rule.turned_right),
                          problem_list(rule.turned_wrong)});
  }
  fmt::print("{}\n", to_plain(table));
}

void run_rescore(const RescoreOptions& options) {
  const auto database = find_database(options.database);
  std::error_code ignored;
  if (!std::filesystem::exists(database, ignored)) {
    throw bad_input("{}: no such database; name a results database or its run folder",
                    database.string());
  }
  auto store = Store::open(database, Store::Mode::kCreate);
  const auto reports = rescore(store, options.stage);
  if (!options.json) {
    for (const auto& report : reports) print_rescored(report);
    return;
  }
  auto stages = OrderedJson::array();
  for (const auto& report : reports) stages.push_back(rescored_json(report));
  fmt::print("{}\n", OrderedJson{{"stages", std::move(stages)}}.dump(2));
}

void add_prompts(CLI::App& gsm8k) {
  const auto options = std::make_shared<PromptsOptions>();
  auto* command = gsm8k.add_subcommand(
      "prompts",
      "Print each problem's prompt as a line of JSON: index, examples drawn for it, prompt.\n"
      "The draws are those of lm-evaluation-harness, task gsm8k version 3");
  command->add_option("--problems", options->problems, kProblemsHelp)->required();
  command->add_option("--examples", options->examples,
                      "Problems to draw solved examples from, the training split");
  command->add_option("--shots", options->few_shot.shots, "Solved examples before each question")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
  command->add_option("--seed", options->few_shot.seed, "Of the draws")->capture_default_str();
  command->callback([options] { print_prompts(*options); });
}

void add_score(CLI::App& gsm8k) {
  const auto options = std::make_shared<ScoreOptions>();
  auto* command = gsm8k.add_subcommand(
      "score", "Score generated texts under every rule: Pass@1 with its 95 % Wilson interval");
  command
      ->add_option(
          "FILE", options->generations,
          "Generated texts: .jsonl with index (or id), the problem's place from 0, and text")
      ->required();
  command->add_option("--problems", options->problems, kProblemsHelp)->required();
  command->add_flag("--json", options->json, "Print JSON, with the verdict on each text");
  command->callback([options] { print_score(*options); });
}

void add_rescore(CLI::App& gsm8k) {
  const auto options = std::make_shared<RescoreOptions>();
  auto* command = gsm8k.add_subcommand(
      "rescore",
      "Score the texts that a results database holds again, without generating anything");
  command->add_option("DB", options->database, kDatabaseOptionHelp);
  command->add_option("--stage", options->stage,
                      "Only the stage whose key begins so; by default all that generated answers");
  command->add_flag("--json", options->json, "Print JSON");
  command->callback([options] { run_rescore(*options); });
}

}  // namespace

void add_gsm8k_command(CLI::App& app) {
  auto* gsm8k =
      app.add_subcommand("gsm8k", "GSM8K: prompts, answers by a checkpoint, and their scores");
  gsm8k->require_subcommand(1);
  add_prompts(*gsm8k);
  add_gsm8k_generate(*gsm8k);
  add_score(*gsm8k);
  add_rescore(*gsm8k);
}

}  // namespace oasis
