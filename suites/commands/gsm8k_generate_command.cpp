#include "suites/commands/gsm8k_generate_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "datasets/folders.h"
#include "datasets/gsm8k/pass_at_1.h"
#include "datasets/registry.h"
#include "suites/compute.h"
#include "suites/engine.h"
#include "suites/gsm8k_generation.h"
#include "suites/gsm8k_table.h"
#include "suites/stop.h"

namespace oasis {
namespace {

constexpr int kInterruptedExit = 128;  // plus the signal's number, as shells have it

struct Arguments {
  GenerationFlags flags;
  Gsm8kTask task;
  std::string data_home;
  std::filesystem::path out = "runs/gsm8k";
  bool json = false;
};

std::vector<gsm8k::PassAt1> counts_of(const Store& store, std::int64_t stage) {
  std::vector<gsm8k::Verdicts> verdicts;
  for (const auto& row : store.generations(stage)) {
    verdicts.push_back(gsm8k::judge_all(row.text, row.gold));
  }
  return gsm8k::pass_at_1(verdicts);
}

int run(const Arguments& arguments) {
  const StopSource stop;
  stop_on_signals();
  require_writable(arguments.out);
  const auto& task = arguments.task;
  const Gsm8kQuestions questions(dataset_entry(task.dataset).description, task.split, task.few_shot,
                                 task.limit, resolve_folders(arguments.data_home));
  arguments.flags.choose();  // what is wrong with the flags is told before a database is made
  auto store = open_run_folder(arguments.out);
  ProgressLine progress(stderr);
  const auto stage =
      answer_gsm8k(store, arguments.task, questions, arguments.flags, stop, progress);
  const auto database = database_of(arguments.out).string();
  if (!stage.finished) {
    fmt::print(stderr, "oasis: {}; {} of {} texts are in {}; the same command goes on from here\n",
               stop.reason(), store.generations(stage.id).size(), questions.problems.size(),
               database);
    return kInterruptedExit + stop.signal();
  }
  if (stage.cut_prompts > 0) {
    progress.message(
        fmt::format("{} prompts did not fit and were cut on the left", stage.cut_prompts));
  }
  const auto counts = counts_of(store, stage.id);
  if (arguments.json) {
    auto metrics = nlohmann::ordered_json::array();
    for (const auto& count : counts) metrics.push_back(pass_at_1_json(count));
    const nlohmann::ordered_json json = {{"database", database},
                                         {"stage", stage.spec.key},
                                         {"known", stage.known},
                                         {"resumed", stage.resumed},
                                         {"metrics", std::move(metrics)}};
    fmt::print("{}\n", json.dump(2));
    return 0;
  }
  fmt::print("{}-shot, {} problems of {} {}; stage {} in {}{}\n\n{}", arguments.task.few_shot.shots,
             questions.problems.size(), arguments.task.dataset, arguments.task.split,
             stage.spec.key.substr(0, 12), database, stage.known ? ", from an earlier run" : "",
             pass_at_1_table(counts));
  return 0;
}

}  // namespace

void add_gsm8k_generate(CLI::App& gsm8k) {
  const auto arguments = std::make_shared<Arguments>();
  auto* command = gsm8k.add_subcommand(
      "generate",
      "Let a checkpoint answer the problems, greedily; store every text, then score them all.\n"
      "The same command goes on after a kill, and generates nothing when all is there");
  arguments->flags.max_new_tokens = gsm8k::kMaxNewTokens;
  arguments->flags.add_to(*command);
  command->add_option("--dataset", arguments->task.dataset, "gsm8k or word_problems")
      ->capture_default_str();
  command->add_option("--split", arguments->task.split, "Split whose problems are asked")
      ->capture_default_str();
  command->add_option("--data-home", arguments->data_home,
                      "Folder of the data files; else OASIS_DATA_HOME, else the cache");
  command
      ->add_option(
          "--shots", arguments->task.few_shot.shots,
          "Solved examples before each question, drawn from the train split; 0 for a model "
          "fine-tuned on it")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
  command->add_option("--shot-seed", arguments->task.few_shot.seed, "Of the draws of examples")
      ->capture_default_str();
  command->add_option("--limit", arguments->task.limit, "The first this many problems; else all")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 40));
  command->add_option("--out", arguments->out, "Run folder; its results.db takes the texts")
      ->capture_default_str();
  command->add_flag("--json", arguments->json, "Print JSON");
  command->callback([arguments] {
    const int status = run(*arguments);
    if (status != 0) throw CLI::RuntimeError(status);
  });
}

}  // namespace oasis
