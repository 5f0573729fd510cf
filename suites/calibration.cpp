#include "suites/calibration.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <ranges>
#include <utility>

#include "datasets/gsm8k/example_loader.h"
#include "datasets/loader.h"
#include "models/evaluation.h"
#include "models/trainer.h"
#include "suites/cost.h"
#include "suites/text_generation.h"
#include "suites/torch_options.h"

namespace oasis {
namespace {

constexpr int kTimedSteps = 2, kTimedTokens = 4;

double seconds_of(const std::function<void()>& work) {
  const auto began = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
}

at::Tensor blocks(const TokenSplitPtr& split, std::int64_t length, std::int64_t count) {
  const BlockLoader loader(split, length, 0);
  return to_tensor(loader.batch(0, count), count);
}

// Of a site-cost measurement: about 12 points and 7 weights a layer, twice 2 of each with routers.
double site_count(const Cell& cell) {
  const double routers = cell.model_config["oasis"]["routing"] == "none" ? 0 : 8;
  return (19 + routers) * cell.model_config["num_hidden_layers"].get<double>();
}

// The first step allocates and warms caches; the quickest of the others is the steady state.
double step_s(const Plan& plan, const Cell& cell, const OptimizationSpec& spec,
              const at::Tensor& tokens, const at::Tensor& targets = {}) {
  Decoder model = fresh_model(cell, plan.device);
  Trainer trainer(model, training_options(spec, plan.device));
  trainer.step(tokens, targets);
  double best = 1e300;
  for (int i = 0; i < kTimedSteps; ++i) {
    best = std::min(best, seconds_of([&] { trainer.step(tokens, targets); }));
  }
  return best;
}

double pretraining_s(const Plan& plan, const Cell& cell, const TokenSplitPtr& train) {
  const TrainingSpec spec = training_of(plan.suite, cell.method);
  if (spec.steps == 0) return 0;
  return static_cast<double>(spec.steps) *
         step_s(plan, cell, spec, blocks(train, spec.block_length, spec.sequences_per_step));
}

double fine_tuning_s(const Plan& plan, const Cell& cell, const Tokenizer& tokenizer,
                     const std::vector<gsm8k::Problem>& problems) {
  const FineTuningSpec& spec = *plan.suite.gsm8k->fine_tuning;
  std::vector<gsm8k::TrainingExample> examples;
  for (const auto& problem : problems | std::views::take(spec.sequences_per_step)) {
    examples.push_back(gsm8k::training_example(problem, tokenizer));
  }
  const gsm8k::ExampleLoader loader(std::move(examples),
                                    spec.max_length.value_or(plan.suite.training.block_length), 0,
                                    tokenizer.end_of_text());
  const std::int64_t rows = spec.sequences_per_step;
  auto batch = loader.batch(0, rows);
  return static_cast<double>(spec.steps) * step_s(plan, cell, spec,
                                                  to_tensor(std::move(batch.tokens), rows),
                                                  to_tensor(std::move(batch.targets), rows));
}

// Answers of a full batch, from the first tokens of one.
double answers_s(const GenerationModel& model, const Tokenizer& tokenizer,
                 const Gsm8kQuestions& questions, GenerationOptions options) {
  const std::int64_t asked = std::ssize(questions.prompts);
  const std::int64_t batch = std::min(options.batch, asked);
  const double steps = static_cast<double>(options.max_new_tokens - 1);
  std::vector<Prompt> prompts;
  for (const auto& text : questions.prompts | std::views::take(batch)) {
    fit_prompt(prompts.emplace_back(tokenizer.encode(text)), model.decoder().config(),
               options.max_new_tokens);
  }
  const auto first_tokens_s = [&](std::int64_t count) {
    options.max_new_tokens = count;
    Generator generator(model.decoder(), options, model.observer());
    return seconds_of(
        [&] { generator.generate(prompts, [](std::size_t, std::uint32_t) { return true; }); });
  };
  const double one = first_tokens_s(1), more = first_tokens_s(1 + kTimedTokens);
  const double batches = static_cast<double>((asked + batch - 1) / batch);
  return batches * (one + steps * std::max(0.0, more - one) / kTimedTokens);
}

double generation_s(const Plan& plan, const Cell& cell, const OpenedSuiteData::ForTraining& data,
                    const OpenedGsm8k& gsm8k) {
  const at::Device device = torch_device(plan.device);
  const Decoder fresh = fresh_model(cell, plan.device);
  double total = 0;
  for (const Stage& stage : cell.stages) {
    if (stage.kind != StageKind::kGenerate) continue;
    std::shared_ptr<QuantizedModel> quantized;
    if (stage.quantization) {
      quantized =
          std::make_shared<QuantizedModel>(fresh, quantization_options(*stage.quantization));
      quantized->calibrate(blocks(data.train, plan.suite.training.block_length,
                                  stage.quantization->calibration_batch_size)
                               .to(device));
    }
    const auto model =
        quantized ? GenerationModel(quantized) : GenerationModel(fresh, at::kFloat, device);
    total += answers_s(model, *data.tokenizer, gsm8k.questions(stage),
                       generation_options(*plan.suite.gsm8k, stage, plan.device));
  }
  return total;
}

double evaluation_s(const Plan& plan, const Cell& cell, const OpenedSuiteData::ForTraining& data,
                    const SuiteData::ForTraining& identities) {
  const Suite& suite = plan.suite;
  const at::Device device = torch_device(plan.device);
  const Decoder model = fresh_model(cell, plan.device);
  const std::int64_t length = suite.evaluation.block_length.value_or(suite.training.block_length);
  const std::int64_t batch = suite.evaluation.batch_size;
  const auto batches_of = [&](const Stage& stage) {
    const auto count = evaluated_blocks(suite, identities.evaluated.at(stage.dataset));
    return static_cast<double>((count + batch - 1) / batch);
  };
  double total = 0;
  double full_batch = -1;
  std::map<std::string, double> quantized_batch;
  for (const Stage& stage : cell.stages) {
    if (stage.trains() || stage.kind == StageKind::kGenerate) continue;
    const at::Tensor tokens = blocks(data.evaluated.at(stage.dataset), length, batch).to(device);
    EvaluationOptions options;
    if (!stage.quantization) {
      if (full_batch < 0) {
        full_batch = seconds_of([&] { evaluate(model, {tokens}, options); });
      }
      total += full_batch * batches_of(stage);
      continue;
    }
    const std::string setting = to_json_object(*stage.quantization).dump();
    if (!quantized_batch.contains(setting)) {
      QuantizedModel quantized(model, quantization_options(*stage.quantization));
      const at::Tensor calibration = blocks(data.train, suite.training.block_length,
                                            stage.quantization->calibration_batch_size)
                                         .to(device);
      total += static_cast<double>(stage.quantization->calibration_batches) *
               seconds_of([&] { quantized.calibrate(calibration); });
      options.diagnostics = false;
      quantized_batch[setting] = seconds_of(
          [&] { evaluate(quantized.model(), {tokens}, options, {}, &quantized.observer()); });
    }
    total += quantized_batch[setting] * batches_of(stage);
    if (const auto counted = stage.quantization->site_cost_tokens) {
      total += site_count(cell) * quantized_batch[setting] * static_cast<double>(*counted) /
               static_cast<double>(batch * length);
    }
  }
  return total;
}

}  // namespace

std::map<std::string, CellTiming> time_cells(const Plan& plan, const std::vector<Cell>& cells,
                                             const OpenedSuiteData& data, ProgressLine& progress) {
  const SuiteData identities = data.identities();
  std::map<std::string, CellTiming> by_kind;
  std::map<std::string, CellTiming> result;
  progress.begin("timing", 0, static_cast<double>(cells.size()), "cells");
  for (const Cell& cell : cells) {
    const std::int64_t steps = training_of(plan.suite, cell.method).steps;
    const std::string kind = fmt::format("{} {} {} {}", cell.dataset.name, cell.checkpoint,
                                         cell.model_config.dump(), steps);
    if (!by_kind.contains(kind)) {
      const auto& opened = data.by_dataset.at(cell.dataset.name);
      CellTiming timing;
      timing.training_s = pretraining_s(plan, cell, opened.train);
      if (data.gsm8k) {
        timing.generation_s = generation_s(plan, cell, opened, *data.gsm8k);
        if (plan.suite.gsm8k->fine_tuning) {
          timing.training_s += fine_tuning_s(plan, cell, *opened.tokenizer, data.gsm8k->training);
        }
      }
      timing.evaluation_s =
          evaluation_s(plan, cell, opened, identities.by_dataset.at(cell.dataset.name));
      by_kind[kind] = timing;
    }
    result[cell.name] = by_kind[kind];
    progress.update(static_cast<double>(result.size()), cell.name);
  }
  progress.end();
  return result;
}

}  // namespace oasis
