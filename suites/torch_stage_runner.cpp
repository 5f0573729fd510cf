#include "suites/torch_stage_runner.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <optional>
#include <utility>

#include "baselines/checkpoint.h"
#include "baselines/method_config.h"
#include "datasets/loader.h"
#include "models/checkpoint_tensors.h"
#include "models/evaluation.h"
#include "models/quantization.h"
#include "models/site_costs.h"
#include "models/trainer.h"
#include "suites/compute.h"
#include "suites/stage_results.h"
#include "suites/torch_options.h"
#include "support/error.h"
#include "support/sha256.h"

namespace oasis {
namespace {

constexpr const char* kTrainingFile = "training.safetensors";  // weights, optimizer, position
constexpr const char* kFinalFolder = "final";                  // Hugging Face layout

// One pretraining: model, optimizer and data, from the last checkpoint if there is one.
class Pretraining {
 public:
  Pretraining(const Plan& plan, const Cell& cell, const Stage& stage,
              const OpenedSuiteData::ForTraining& data, StageContext& context)
      : spec_(training_of(plan.suite, cell.method)),
        stage_(stage),
        data_(data),
        context_(context),
        loader_(data.train, spec_.block_length, static_cast<std::uint64_t>(cell.seed)),
        model_(fresh_model(cell, plan.device)),
        trainer_(model_, training_options(spec_, plan.device)) {}

  StageOutcome run() {
    if (std::filesystem::exists(training_file())) trainer_.load(training_file(), stage_.key);
    context_.begins_at(trainer_.steps_done());
    const std::int64_t tokens = spec_.sequences_per_step * spec_.block_length;
    context_.begin_progress(as_double(trainer_.steps_done() * tokens),
                            as_double(spec_.steps * tokens), "tokens");
    while (trainer_.steps_done() < spec_.steps) {
      const auto began = std::chrono::steady_clock::now();
      const std::int64_t step = trainer_.steps_done();
      const StepReport report = trainer_.step(
          to_tensor(loader_.batch(static_cast<std::uint64_t>(step), spec_.sequences_per_step),
                    spec_.sequences_per_step));
      if (!report.is_finite()) return diverged(report);
      note_micro_batch(report);
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - began;
      const bool last = report.step == spec_.steps;
      if (report.step % spec_.log_every == 0 || report.step == 1 || last) {
        context_.record({report.step, report.step * tokens, report.loss, report.learning_rate,
                         report.gradient_norm, seconds.count()});
      }
      context_.progress(as_double(report.step * tokens), fmt::format("loss {:.3f}", report.loss));
      const bool stop = !last && context_.stop_requested();
      if (stop || last || report.step % spec_.checkpoint_every == 0) save();
      if (stop) {
        return {.kind = StageOutcome::Kind::kStopped,
                .step = report.step,
                .checkpoint = training_artifact()};
      }
    }
    return finished();
  }

 private:
  static double as_double(std::int64_t value) { return static_cast<double>(value); }

  std::filesystem::path training_file() const { return context_.folder() / kTrainingFile; }

  Artifact training_artifact() const {
    return {training_file().string(), sha256_file(training_file())};
  }

  // The GPU's memory did not suffice: the step was done in smaller parts, with the same result.
  void note_micro_batch(const StepReport& report) {
    const std::int64_t before = std::exchange(micro_batch_, report.micro_batch);
    if (report.micro_batch >= before) return;
    context_.event(report.step, "micro_batch_halved",
                   fmt::format("out of GPU memory with {} sequences at a time, went on with {}; "
                               "training.micro_batch or activation_checkpointing would avoid the "
                               "attempt",
                               before, report.micro_batch));
  }

  void save() {
    context_.flush();
    trainer_.save(training_file(), stage_.key);
  }

  // The weights are still those before the step that failed: they are the last good ones.
  StageOutcome diverged(const StepReport& report) {
    save();
    return {.kind = StageOutcome::Kind::kFailed,
            .step = report.step,
            .checkpoint = training_artifact(),
            .reason = fmt::format("loss {} and gradient norm {} at step {}", report.loss,
                                  report.gradient_norm, report.step)};
  }

  StageOutcome finished() {
    const auto folder = context_.folder() / kFinalFolder;
    save_checkpoint(model_, folder);
    data_.tokenizer->save(folder);
    StageOutcome outcome;
    const auto weights = folder / kWeightsFile;
    outcome.result.artifact = Artifact{weights.string(), sha256_file(weights)};
    outcome.result.step = trainer_.steps_done();
    const std::int64_t tokens = spec_.steps * spec_.sequences_per_step * spec_.block_length;
    outcome.result.metrics = {
        {"parameters", as_double(model_.parameter_count()), "1", 1, "", "", false},
        {"training_tokens", as_double(tokens), "tokens", spec_.steps, "", "", false}};
    return outcome;
  }

  const TrainingSpec spec_;
  const Stage& stage_;
  const OpenedSuiteData::ForTraining& data_;
  StageContext& context_;
  BlockLoader loader_;
  Decoder model_;
  Trainer trainer_;
  std::int64_t micro_batch_ = spec_.micro_batch.value_or(spec_.sequences_per_step);
};

}  // namespace

struct TorchStageRunner::State {
  const OpenedSuiteData& data;
  // Kept from stage to stage: evaluations of one cell follow each other.
  std::string model_key;  // of the pretraining
  std::optional<Decoder> model;
  std::string quantized_key;  // of pretraining and setting
  std::unique_ptr<QuantizedModel> quantized;

  void load(const Cell& cell, const Stage& stage, const StageContext& context, at::Device device) {
    if (model_key == stage.parent_key) return;
    quantized_key.clear();
    quantized.reset();
    model_key.clear();
    const auto folder = context.parent_checkpoint().parent_path();
    model.emplace(
        load_checkpoint(folder, at::kFloat).to(at::TensorOptions(at::kFloat).device(device)));
    if (checkpoint_config_json(model->config()) != checkpoint_config_json(config_of(cell))) {
      throw bad_input(
          "{}: not the configuration that was trained; delete the folder to train "
          "again",
          (folder / "config.json").string());
    }
    model_key = stage.parent_key;
  }

  void calibrate(const Suite& suite, const Cell& cell, const Stage& stage, at::Device device) {
    const QuantizationSpec& spec = stage.quantization.value();
    const std::string key = stage.parent_key + to_json_object(spec).dump();
    if (quantized_key == key) return;
    quantized_key.clear();
    quantized = std::make_unique<QuantizedModel>(*model, quantization_options(spec));
    const BlockLoader loader(data.by_dataset.at(cell.dataset.name).train,
                             suite.training.block_length, static_cast<std::uint64_t>(spec.seed));
    for (std::int64_t i = 0; i < spec.calibration_batches; ++i) {
      quantized->calibrate(
          to_tensor(loader.batch(static_cast<std::uint64_t>(i), spec.calibration_batch_size),
                    spec.calibration_batch_size)
              .to(device));
    }
    quantized_key = key;
  }
};

TorchStageRunner::TorchStageRunner(const OpenedSuiteData& data)
    : state_(std::make_unique<State>(State{data, "", std::nullopt, "", nullptr})) {}

TorchStageRunner::~TorchStageRunner() = default;

std::string TorchStageRunner::device_name() const {
  return compute_info().cuda ? compute_info().gpu : "cpu";
}

StageOutcome TorchStageRunner::run(const Plan& plan, const Cell& cell, const Stage& stage,
                                   StageContext& context) {
  const OpenedSuiteData::ForTraining& data = state_->data.by_dataset.at(cell.dataset.name);
  if (stage.kind == StageKind::kPretrain) {
    return Pretraining(plan, cell, stage, data, context).run();
  }
  const Suite& suite = plan.suite;
  const at::Device device = torch_device(plan.device);
  const TokenSplitPtr& split = data.evaluated.at(stage.dataset);
  const std::int64_t length = suite.evaluation.block_length.value_or(suite.training.block_length);
  const BlockLoader loader(split, length, 0, BlockLoader::Order::kSequential);
  const std::int64_t blocks =
      std::min(loader.blocks(), suite.evaluation.sequences.value_or(loader.blocks()));
  context.begin_progress(0, static_cast<double>(blocks), "sequences");
  state_->load(cell, stage, context, device);
  ForwardObserver* quantizer = nullptr;
  if (stage.quantization) {
    state_->calibrate(suite, cell, stage, device);
    quantizer = &state_->quantized->observer();
  }

  std::vector<at::Tensor> batches;
  for (std::int64_t first = 0; first < blocks; first += suite.evaluation.batch_size) {
    const std::int64_t count = std::min(suite.evaluation.batch_size, blocks - first);
    batches.push_back(
        to_tensor(loader.samples(static_cast<std::uint64_t>(first), count), count).to(device));
  }
  const SplitInfo& info = split->info();
  const TextSize text{static_cast<std::int64_t>(info.tokens),
                      static_cast<std::int64_t>(info.source_bytes),
                      static_cast<std::int64_t>(info.source_words)};
  bool stopped = false;
  const auto progress = [&](std::int64_t done, std::int64_t) {
    stopped = context.stop_requested();
    context.progress(static_cast<double>(std::min(blocks, done * suite.evaluation.batch_size)), "");
    return !stopped;
  };
  EvaluationOptions options;
  options.diagnostics = !stage.quantization;
  StageOutcome outcome;
  try {
    outcome.result =
        to_stage_result(evaluate(stage.quantization ? state_->quantized->model() : *state_->model,
                                 batches, options, text, quantizer, progress),
                        *data.tokenizer);
    context.progress(static_cast<double>(blocks), "");
    if (stage.quantization) {
      outcome.result.site_statistics =
          range_statistics(*state_->quantized, stage.quantization->calibration_batches *
                                                   stage.quantization->calibration_batch_size);
      if (const auto tokens = stage.quantization->site_cost_tokens) {
        const auto costs =
            measure_site_costs(*state_->model, *state_->quantized, first_tokens(batches, *tokens),
                               [&](std::int64_t done, std::int64_t total) {
                                 if (done == 0)
                                   context.begin_progress(0, static_cast<double>(total), "sites");
                                 stopped = context.stop_requested();
                                 context.progress(static_cast<double>(done), "");
                                 return !stopped;
                               });
        std::ranges::copy(site_cost_statistics(costs),
                          std::back_inserter(outcome.result.site_statistics));
      }
    }
  } catch (const Error&) {
    if (!stopped) throw;
    outcome.kind = StageOutcome::Kind::kStopped;
    return outcome;
  }
  return outcome;
}

}  // namespace oasis
