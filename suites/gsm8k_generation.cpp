#include "suites/gsm8k_generation.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "datasets/registry.h"
#include "suites/compute.h"
#include "suites/gsm8k_scores.h"
#include "support/error.h"
#include "support/sha256.h"

namespace oasis {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// Texts go to the database this often; a kill loses no more.
constexpr std::chrono::seconds kBetweenWrites{2};

// The files that make a checkpoint's model.
std::string checkpoint_sha256(const fs::path& folder) {
  std::set<fs::path> files = {folder / "config.json"};
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".safetensors") files.insert(entry.path());
  }
  std::string sums;
  for (const auto& file : files) {
    sums += fmt::format("{}  {}\n", sha256_file(file), file.filename().string());
  }
  return sha256_hex(sums);
}

json config_of(const Gsm8kTask& task, const Gsm8kQuestions& questions, const GenerationFlags& flags,
               const RunDevice& device, const Tokenizer& tokenizer) {
  json config = {{"checkpoint_sha256", checkpoint_sha256(flags.checkpoint)},
                 {"tokenizer", tokenizer.hash()},
                 {"dataset", task.dataset},
                 {"split", task.split},
                 {"problems", questions.problems.size()},
                 {"shots", task.few_shot.shots},
                 {"seed", task.few_shot.seed},
                 {"questions_sha256", questions.sha256},
                 {"max_new_tokens", flags.max_new_tokens},
                 {"stops", gsm8k_stops()},
                 {"dtype", device.dtype}};
  if (flags.quantization.given()) {
    config["quantization"] = {{"weight_bits", flags.quantization.weight_bits},
                              {"activation_bits", flags.quantization.activation_bits},
                              {"points", flags.quantization.points},
                              {"calibration_sha256", sha256_file(flags.quantization.calibration)}};
  }
  return config;
}

// Two folders of one name may hold different models.
std::string model_name(const fs::path& checkpoint, const std::string& sha256) {
  return fmt::format("{}@{}", fs::weakly_canonical(checkpoint).filename().string(),
                     sha256.substr(0, 8));
}

// Stages that a table may set beside each other share a suite.
std::string suite_name(const Gsm8kTask& task, const Gsm8kQuestions& questions) {
  auto name = fmt::format("{} {}, {}-shot", task.dataset, task.split, task.few_shot.shots);
  if (task.limit > 0) name += fmt::format(", first {}", questions.problems.size());
  return name;
}

StageSpec stage_spec(const json& config, const Gsm8kTask& task, const GenerationFlags& flags) {
  StageSpec spec;
  spec.kind = "generate";
  spec.key = sha256_hex(spec.kind + config.dump());
  spec.config_json = config.dump();
  spec.evaluated_on = task.dataset;
  if (flags.quantization.given()) {
    spec.weight_bits = flags.quantization.weight_bits;
    spec.activation_bits = flags.quantization.activation_bits;
    spec.points = flags.quantization.points;
  }
  return spec;
}

// Collects finished texts and stores them every few seconds.
class Writer {
 public:
  Writer(Store& store, std::int64_t stage) : store_(store), stage_(stage) {}

  void add(GenerationRow row) {
    rows_.push_back(std::move(row));
    if (std::chrono::steady_clock::now() - last_ >= kBetweenWrites) flush();
  }

  void flush() {
    if (!rows_.empty()) store_.add_generations(stage_, rows_);
    rows_.clear();
    last_ = std::chrono::steady_clock::now();
  }

 private:
  Store& store_;
  std::int64_t stage_;
  std::vector<GenerationRow> rows_;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

// Answers the problems that the stage holds no text of; whether all are there now.
bool answer_missing(Store& store, Gsm8kStage& stage, const Gsm8kQuestions& questions,
                    const GenerationFlags& flags, const RunDevice& device,
                    const GenerationCheckpoint& checkpoint, const StopSource& stop,
                    ProgressLine& progress) {
  std::set<std::int64_t> answered;
  for (const auto& row : store.generations(stage.id)) answered.insert(row.problem);
  stage.resumed = std::ssize(answered);
  std::vector<std::int64_t> asked;
  std::vector<Prompt> prompts;
  for (std::size_t i = 0; i < questions.prompts.size(); ++i) {
    if (answered.contains(static_cast<std::int64_t>(i))) continue;
    asked.push_back(static_cast<std::int64_t>(i));
    auto& prompt = prompts.emplace_back(checkpoint.tokenizer->encode(questions.prompts[i]));
    const auto& config = checkpoint.model.decoder().config();
    stage.cut_prompts += fit_prompt(prompt, config, flags.max_new_tokens) > 0 ? 1 : 0;
  }
  Writer writer(store, stage.id);
  auto done = static_cast<double>(answered.size());
  std::int64_t tokens = 0;
  progress.begin("answering", done, static_cast<double>(questions.prompts.size()), "problems");
  const auto began = std::chrono::steady_clock::now();
  const auto ended = [&](std::size_t i, const GeneratedText& text) {
    const auto problem = asked[i];
    writer.add({.problem = problem,
                .gold = questions.problems[static_cast<std::size_t>(problem)].gold,
                .text = text.text(),
                .tokens = text.tokens()});
    tokens += text.tokens();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - began;
    progress.update(++done,
                    fmt::format("{:.0f} tokens/s", static_cast<double>(tokens) / seconds.count()));
  };
  const bool whole =
      prompts.empty() || generate_texts(checkpoint.model, *checkpoint.tokenizer, prompts,
                                        {.options = flags.options(device),
                                         .stops = gsm8k_stops(),
                                         .interrupted = [&] { return stop.requested(); }},
                                        ended);
  writer.flush();
  progress.end();
  return whole;
}

}  // namespace

const std::vector<std::string>& gsm8k_stops() {
  static const std::vector<std::string> stops = {"Question:", "</s>", "<|im_end|>"};
  return stops;
}

Gsm8kQuestions::Gsm8kQuestions(const Gsm8kTask& task, const DataFolders& folders) {
  const auto& description = dataset_entry(task.dataset).description;
  problems = gsm8k::problems_of(description, task.split, folders);
  std::vector<gsm8k::Problem> examples;
  if (task.few_shot.shots > 0) examples = gsm8k::problems_of(description, "train", folders);
  if (task.limit > 0 && task.limit < std::ssize(problems)) {
    problems.resize(static_cast<std::size_t>(task.limit));
  }
  prompts = gsm8k::make_prompts(problems, examples, task.few_shot);
  Sha256 sum;
  for (std::size_t i = 0; i < problems.size(); ++i) {
    sum.update(prompts[i].c_str(), prompts[i].size() + 1);
    sum.update(problems[i].gold.c_str(), problems[i].gold.size() + 1);
  }
  sha256 = sum.hex();
}

Gsm8kStage answer_gsm8k(Store& store, const Gsm8kTask& task, const Gsm8kQuestions& questions,
                        const GenerationFlags& flags, const StopSource& stop,
                        ProgressLine& progress) {
  const auto device = flags.choose();
  const GenerationCheckpoint checkpoint(flags, device);
  const auto config = config_of(task, questions, flags, device, *checkpoint.tokenizer);
  const std::string sha256 = config["checkpoint_sha256"];
  const auto& method = checkpoint.model.decoder().config().method.method;
  const auto cell = store.add_cell({.suite_id = store.add_suite(suite_name(task, questions), "{}"),
                                    .method = method,
                                    .dataset = "checkpoint",
                                    .model = model_name(flags.checkpoint, sha256),
                                    .config_json = json{{"checkpoint_sha256", sha256}}.dump()});
  Gsm8kStage stage;
  stage.spec = stage_spec(config, task, flags);
  const auto row = store.plan_stage(cell, stage.spec);
  stage.id = row.id;
  stage.known = stage.finished = row.state == StageState::kDone;
  if (stage.finished) return stage;
  const auto run_id = store.begin_run(run_environment(device));
  const auto device_name = device.type == "cuda" ? compute_info().gpu : device.type;
  if (!store.begin_stage(stage.id, run_id, device_name, device.dtype)) {
    throw failed("{}: another process works on this stage ({}); wait for it or stop it",
                 store.path().string(), stage.spec.key.substr(0, 12));
  }
  try {
    stage.finished =
        answer_missing(store, stage, questions, flags, device, checkpoint, stop, progress);
  } catch (const std::exception& error) {
    store.fail_stage(stage.id, error.what());
    throw;
  }
  if (stage.finished) {
    auto scores = score_generations(store.generations(stage.id));
    store.finish_stage(stage.id, {.metrics = std::move(scores.metrics),
                                  .generation_scores = std::move(scores.scores)});
  } else {
    store.stop_stage(stage.id);
  }
  store.end_run(run_id);
  return stage;
}

}  // namespace oasis
