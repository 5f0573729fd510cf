#include "suites/gsm8k_generation.h"

#include <fmt/format.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "suites/compute.h"
#include "suites/gsm8k_answers.h"
#include "suites/gsm8k_scores.h"
#include "support/error.h"
#include "support/text.h"
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
                              {"points", flags.quantization.points}};
    auto& json = config["quantization"];
    if (!flags.quantization.calibration.empty()) {
      json["calibration_sha256"] = sha256_file(flags.quantization.calibration);
    }
    // Only where they differ: keys from before these flags stay what they were.
    for (const auto& difference : flags.quantization.differences()) {
      json["differences"].push_back(difference);
    }
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
  spec.shots = task.few_shot.shots;
  if (flags.quantization.given()) {
    spec.weight_bits = flags.quantization.weight_bits;
    spec.activation_bits = flags.quantization.activation_bits;
    spec.points = flags.quantization.points;
    spec.quantizer = join(flags.quantization.differences(), ", ");
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
  const auto known = store.generations(stage.id);
  stage.resumed = std::ssize(known);
  Writer writer(store, stage.id);
  progress.begin("answering", static_cast<double>(known.size()),
                 static_cast<double>(questions.prompts.size()), "problems");
  const auto answering = answer_questions(
      checkpoint.model, *checkpoint.tokenizer, questions, known, flags.options(device),
      {.answered = [&](GenerationRow row) { writer.add(std::move(row)); },
       .interrupted = [&] { return stop.requested(); },
       .progress = [&](double done, const std::string& detail) { progress.update(done, detail); }});
  stage.cut_prompts = answering.cut_prompts;
  writer.flush();
  progress.end();
  return answering.whole;
}

}  // namespace

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
