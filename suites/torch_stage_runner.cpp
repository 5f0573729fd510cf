#include "suites/torch_stage_runner.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include "datasets/loader.h"
#include "models/evaluation.h"
#include "models/quantization.h"
#include "models/site_costs.h"
#include "suites/compute.h"
#include "suites/gsm8k_answers.h"
#include "suites/gsm8k_scores.h"
#include "suites/stage_results.h"
#include "suites/text_generation.h"
#include "suites/torch_options.h"
#include "suites/training_run.h"
#include "support/error.h"

namespace oasis {
namespace {

// Texts go to the database as they end; the scores follow when all are there.
StageOutcome answer(const GenerationModel& model, const Tokenizer& tokenizer,
                    const Gsm8kQuestions& questions, const GenerationOptions& options,
                    StageContext& context) {
  const auto known = context.generations();
  context.begin_progress(static_cast<double>(known.size()),
                         static_cast<double>(questions.prompts.size()), "problems");
  const auto answering = answer_questions(
      model, tokenizer, questions, known, options,
      {.answered = [&](GenerationRow row) { context.record(std::move(row)); },
       .interrupted = [&] { return context.stop_requested(); },
       .progress = [&](double done, const std::string& rate) { context.progress(done, rate); }});
  context.flush();
  StageOutcome outcome;
  if (!answering.whole) {
    outcome.kind = StageOutcome::Kind::kStopped;
    return outcome;
  }
  if (answering.cut_prompts > 0) {
    context.event(
        std::nullopt, "prompts_cut",
        fmt::format("{} prompts did not fit and were cut on the left", answering.cut_prompts));
  }
  auto scores = score_generations(context.generations());
  outcome.result.metrics = std::move(scores.metrics);
  outcome.result.generation_scores = std::move(scores.scores);
  return outcome;
}

}  // namespace

struct TorchStageRunner::State {
  const OpenedSuiteData& data;
  // Kept from stage to stage: evaluations of one cell follow each other.
  std::string model_key;  // of the training
  std::optional<Decoder> model;
  std::string quantized_key;  // of training and setting
  std::shared_ptr<QuantizedModel> quantized;

  void load(const Cell& cell, const Stage& stage, const StageContext& context,
            const RunDevice& device) {
    if (model_key == stage.parent_key) return;
    quantized_key.clear();
    quantized.reset();
    model_key.clear();
    model.emplace(trained_model(cell, context.parent_checkpoint().parent_path(), device));
    model_key = stage.parent_key;
  }

  void calibrate(const Suite& suite, const Cell& cell, const Stage& stage, at::Device device) {
    const QuantizationSpec& spec = stage.quantization.value();
    const std::string key = stage.parent_key + to_json_object(spec).dump();
    if (quantized_key == key) return;
    quantized_key.clear();
    quantized = std::make_shared<QuantizedModel>(*model, quantization_options(spec));
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
    return run_pretraining(plan, cell, stage, data, context);
  }
  if (stage.kind == StageKind::kFineTune) {
    return run_fine_tuning(plan, cell, stage, data, state_->data.gsm8k.value().training, context);
  }
  const Suite& suite = plan.suite;
  const at::Device device = torch_device(plan.device);
  if (stage.kind == StageKind::kGenerate) {
    state_->load(cell, stage, context, plan.device);
    if (stage.quantization) state_->calibrate(suite, cell, stage, device);
    const auto model = stage.quantization ? GenerationModel(state_->quantized)
                                          : GenerationModel(*state_->model, at::kFloat, device);
    return answer(model, *data.tokenizer, state_->data.gsm8k.value().questions(stage),
                  generation_options(*suite.gsm8k, stage, plan.device), context);
  }
  const TokenSplitPtr& split = data.evaluated.at(stage.dataset);
  const std::int64_t length = suite.evaluation.block_length.value_or(suite.training.block_length);
  const BlockLoader loader(split, length, 0, BlockLoader::Order::kSequential);
  const std::int64_t blocks =
      std::min(loader.blocks(), suite.evaluation.sequences.value_or(loader.blocks()));
  context.begin_progress(0, static_cast<double>(blocks), "sequences");
  state_->load(cell, stage, context, plan.device);
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
