#include "suites/training_run.h"

#include <ATen/Context.h>
#include <fmt/format.h>

#include <chrono>
#include <optional>
#include <utility>

#include "baselines/checkpoint.h"
#include "datasets/gsm8k/example_loader.h"
#include "datasets/loader.h"
#include "kernels/cross_entropy/linear_cross_entropy.h"
#include "models/checkpoint_tensors.h"
#include "models/trainer.h"
#include "suites/torch_options.h"
#include "support/sha256.h"

namespace oasis {
namespace {

static_assert(gsm8k::kNoTarget == kIgnoredTarget);

// What a training reads, step by step.
class TrainingData {
 public:
  virtual ~TrainingData() = default;

  struct Batch {
    at::Tensor tokens, targets;  // as Trainer::step takes them
  };
  virtual Batch batch(std::int64_t step) = 0;
  virtual std::int64_t tokens_until(std::int64_t steps) const = 0;  // of steps 0 … steps − 1
};

class Blocks : public TrainingData {
 public:
  Blocks(const TrainingSpec& spec, const TokenSplitPtr& split, std::int64_t seed)
      : sequences_(spec.sequences_per_step),
        loader_(split, spec.block_length, static_cast<std::uint64_t>(seed)) {}

  Batch batch(std::int64_t step) override {
    return {to_tensor(loader_.batch(static_cast<std::uint64_t>(step), sequences_), sequences_), {}};
  }
  std::int64_t tokens_until(std::int64_t steps) const override {
    return steps * sequences_ * loader_.block_length();
  }

 private:
  std::int64_t sequences_;
  BlockLoader loader_;
};

class Examples : public TrainingData {
 public:
  Examples(const FineTuningSpec& spec, std::int64_t max_length, std::int64_t seed,
           const std::vector<gsm8k::Problem>& problems, const Tokenizer& tokenizer,
           const RunDevice& device)
      : sequences_(spec.sequences_per_step),
        loader_(encoded(problems, tokenizer), max_length, static_cast<std::uint64_t>(seed),
                tokenizer.end_of_text()),
        // A GPU records a step once for all batches of one shape.
        length_(device.type == "cuda" && spec.cuda_graph ? loader_.longest() : 0) {}

  Batch batch(std::int64_t step) override {
    auto batch = loader_.batch(static_cast<std::uint64_t>(step), sequences_, length_);
    return {to_tensor(std::move(batch.tokens), sequences_),
            to_tensor(std::move(batch.targets), sequences_)};
  }
  std::int64_t tokens_until(std::int64_t steps) const override {
    return loader_.tokens_until(steps, sequences_);
  }
  std::int64_t cut() const { return loader_.cut(); }

 private:
  static std::vector<gsm8k::TrainingExample> encoded(const std::vector<gsm8k::Problem>& problems,
                                                     const Tokenizer& tokenizer) {
    std::vector<gsm8k::TrainingExample> examples;
    examples.reserve(problems.size());
    for (const auto& problem : problems) {
      examples.push_back(gsm8k::training_example(problem, tokenizer));
    }
    return examples;
  }

  std::int64_t sequences_;
  gsm8k::ExampleLoader loader_;
  std::int64_t length_;
};

struct TrainingNames {
  const char* file;     // weights, optimizer and position, in the cell's folder
  const char* folder;   // the trained model
  const char* section;  // of the suite
};
constexpr TrainingNames kPretraining = {"training.safetensors", "final", "training"};
constexpr TrainingNames kFineTuning = {"fine_tuning.safetensors", "fine_tuned",
                                       "gsm8k.fine_tuning"};

// Model, optimizer and data, from the last checkpoint if there is one.
class TrainingRun {
 public:
  TrainingRun(const OptimizationSpec& spec, const TrainingNames& names, const RunDevice& device,
              const Stage& stage, Decoder model, TrainingData& data, const Tokenizer& tokenizer,
              StageContext& context)
      : spec_(spec),
        names_(names),
        stage_(stage),
        data_(data),
        tokenizer_(tokenizer),
        context_(context),
        model_(std::move(model)),
        trainer_(model_, training_options(spec_, device)) {}

  StageOutcome run() {
    if (std::filesystem::exists(training_file())) trainer_.load(training_file(), stage_.key);
    context_.begins_at(trainer_.steps_done());
    context_.begin_progress(as_double(data_.tokens_until(trainer_.steps_done())),
                            as_double(data_.tokens_until(spec_.steps)), "tokens");
    while (trainer_.steps_done() < spec_.steps) {
      const auto began = std::chrono::steady_clock::now();
      const auto batch = data_.batch(trainer_.steps_done());
      const StepReport report = trainer_.step(batch.tokens, batch.targets);
      if (!report.is_finite()) return diverged(report);
      note_micro_batch(report);
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - began;
      const std::int64_t tokens = data_.tokens_until(report.step);
      const bool last = report.step == spec_.steps;
      if (report.step % spec_.log_every == 0 || report.step == 1 || last) {
        context_.record(CurvePoint{report.step, tokens, report.loss, report.learning_rate,
                                   report.gradient_norm, seconds.count()});
      }
      context_.progress(as_double(tokens), fmt::format("loss {:.3f}", report.loss));
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

  std::filesystem::path training_file() const { return context_.folder() / names_.file; }

  Artifact training_artifact() const {
    return {training_file().string(), sha256_file(training_file())};
  }

  // The GPU's memory did not suffice: the step was done in smaller parts, with the same result.
  void note_micro_batch(const StepReport& report) {
    const std::int64_t before = std::exchange(micro_batch_, report.micro_batch);
    if (report.micro_batch >= before) return;
    context_.event(report.step, "micro_batch_halved",
                   fmt::format("out of GPU memory with {0} sequences at a time, went on with {1}; "
                               "{2}.micro_batch or activation_checkpointing would avoid the "
                               "attempt",
                               before, report.micro_batch, names_.section));
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
    const auto folder = context_.folder() / names_.folder;
    save_checkpoint(model_, folder);
    tokenizer_.save(folder);
    StageOutcome outcome;
    const auto weights = folder / kWeightsFile;
    outcome.result.artifact = Artifact{weights.string(), sha256_file(weights)};
    outcome.result.step = trainer_.steps_done();
    const double tokens = as_double(data_.tokens_until(spec_.steps));
    outcome.result.metrics = {
        {"parameters", as_double(model_.parameter_count()), "1", 1, "", "", false},
        {"training_tokens", tokens, "tokens", spec_.steps, "", "", false}};
    return outcome;
  }

  const OptimizationSpec spec_;
  const TrainingNames names_;
  const Stage& stage_;
  TrainingData& data_;
  const Tokenizer& tokenizer_;
  StageContext& context_;
  Decoder model_;
  Trainer trainer_;
  std::int64_t micro_batch_ = spec_.micro_batch.value_or(spec_.sequences_per_step);
};

}  // namespace

StageOutcome run_pretraining(const Plan& plan, const Cell& cell, const Stage& stage,
                             const OpenedSuiteData::ForTraining& data, StageContext& context) {
  const TrainingSpec spec = training_of(plan.suite, cell.method);
  Blocks blocks(spec, data.train, cell.seed);
  return TrainingRun(spec, kPretraining, plan.device, stage, fresh_model(cell, plan.device), blocks,
                     *data.tokenizer, context)
      .run();
}

StageOutcome run_fine_tuning(const Plan& plan, const Cell& cell, const Stage& stage,
                             const OpenedSuiteData::ForTraining& data,
                             const std::vector<gsm8k::Problem>& problems, StageContext& context) {
  const FineTuningSpec& spec = plan.suite.gsm8k.value().fine_tuning.value();
  Examples examples(spec, spec.max_length.value_or(plan.suite.training.block_length), cell.seed,
                    problems, *data.tokenizer, plan.device);
  if (examples.cut() > 0) {
    context.event(std::nullopt, "examples_cut",
                  fmt::format("{} of {} examples did not fit and were cut on the left",
                              examples.cut(), problems.size()));
  }
  at::Generator generator = at::globalContext().defaultGenerator(at::kCPU);
  generator.set_current_seed(static_cast<std::uint64_t>(cell.seed));
  return TrainingRun(spec, kFineTuning, plan.device, stage,
                     trained_model(cell, context.parent_checkpoint().parent_path(), plan.device),
                     examples, *data.tokenizer, context)
      .run();
}

}  // namespace oasis
