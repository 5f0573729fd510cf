#include "suites/plan_gsm8k.h"

#include <fmt/format.h>

#include <iterator>

#include "support/error.h"

namespace oasis {
namespace {

Stage fine_tuning(const Cell& cell, const Suite& suite, const ProblemsIdentity& problems,
                  const RunDevice& device) {
  const Gsm8kSpec& gsm8k = *suite.gsm8k;
  Json spec = optimization_json(to_json_object(*gsm8k.fine_tuning), device);
  spec["max_length"] = gsm8k.fine_tuning->max_length.value_or(suite.training.block_length);
  Stage stage;
  stage.kind = StageKind::kFineTune;
  stage.parent_key = cell.pretrain().key;
  stage.dataset = gsm8k.dataset.name;
  stage.config = {{"fine_tuning", spec},
                  {"problems_sha256", problems.training_sha256},
                  {"tokenizer", problems.tokenizer},
                  {"seed", cell.seed}};
  return with_key(stage, device);
}

// Behind the evaluations of the same weights under the same setting, so that a model is quantized
// and calibrated once for all of them.
void insert(Cell& cell, const Stage& stage) {
  const auto setting = [](const Stage& s) {
    return s.quantization ? to_json_object(*s.quantization) : Json();
  };
  auto place = cell.stages.end();
  for (auto it = cell.stages.begin(); it != cell.stages.end(); ++it) {
    if (it->parent_key == stage.parent_key && !it->trains() && setting(*it) == setting(stage)) {
      place = std::next(it);
    }
  }
  cell.stages.insert(place, stage);
}

void add_answers(Cell& cell, const Suite& suite, const SuiteData::ForTraining& data,
                 const RunDevice& device, const Stage model) {
  const Gsm8kSpec& gsm8k = *suite.gsm8k;
  Stage stage;
  stage.kind = StageKind::kGenerate;
  stage.parent_key = model.key;
  stage.dataset = gsm8k.dataset.name;
  stage.after_fine_tuning = model.kind == StageKind::kFineTune;
  stage.shots = stage.after_fine_tuning ? 0 : gsm8k.shots.value();
  const auto& questions = stage.after_fine_tuning ? data.gsm8k.zero_shot : data.gsm8k.few_shot;
  stage.config = {{"questions_sha256", questions.sha256},
                  {"problems", data.gsm8k.problems},
                  {"shots", *stage.shots},
                  {"max_new_tokens", gsm8k.max_new_tokens},
                  {"tokenizer", data.gsm8k.tokenizer}};
  insert(cell, with_key(stage, device));
  for (const QuantizationSpec& setting : suite.quantization) {
    Stage quantized = stage;
    quantized.quantization = setting;
    quantized.config["quantization"] = key_json(setting);
    quantized.config["quantization"].erase("site_cost_tokens");
    quantized.config["calibration_data"] = split_json(data.train);
    insert(cell, with_key(quantized, device));
  }
}

void check_positions(const Cell& cell, const Suite& suite, const std::string& source) {
  const auto positions = cell.model_config.find("max_position_embeddings");
  if (positions == cell.model_config.end() || !positions->is_number_integer()) return;
  const auto room = positions->get<std::int64_t>();
  if (suite.gsm8k->max_new_tokens >= room) {
    throw bad_input(
        "{}: gsm8k.max_new_tokens: {} new tokens leave no position for a prompt: model '{}' has "
        "{}; ask for fewer",
        source, suite.gsm8k->max_new_tokens, cell.model.name, room);
  }
  if (!suite.gsm8k->fine_tuning) return;
  const auto length = suite.gsm8k->fine_tuning->max_length.value_or(suite.training.block_length);
  if (length > room) {
    throw bad_input(
        "{}: gsm8k.fine_tuning.max_length: {} tokens are more than the {} positions of model '{}'; "
        "shorten it",
        source, length, room, cell.model.name);
  }
}

}  // namespace

void add_gsm8k(Cell& cell, const Suite& suite, const SuiteData::ForTraining& data,
               const RunDevice& device, const std::string& source) {
  check_positions(cell, suite, source);
  if (suite.gsm8k->shots) add_answers(cell, suite, data, device, cell.pretrain());
  if (!suite.gsm8k->fine_tuning) return;
  const Stage tuned = fine_tuning(cell, suite, data.gsm8k, device);
  cell.stages.push_back(tuned);
  add_answers(cell, suite, data, device, tuned);
}

}  // namespace oasis
