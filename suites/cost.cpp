#include "suites/cost.h"

#include <algorithm>

namespace oasis {
namespace {

// Sizes by the names of a config.json, in Hugging Face's shapes.
struct Shape {
  std::int64_t vocab, hidden, layers, heads, kv_heads, head_dim, intermediate, router, sublayers;
  std::int64_t blocks;
  bool tied, qk_norm, gate, learned_beta;
  std::string routing;

  explicit Shape(const Json& config)
      : vocab(config.at("vocab_size")),
        hidden(config.at("hidden_size")),
        layers(config.at("num_hidden_layers")),
        heads(config.at("num_attention_heads")),
        kv_heads(config.at("num_key_value_heads")),
        head_dim(config.at("head_dim")),
        intermediate(config.at("intermediate_size")),
        router(config.at("oasis").value("router_size", std::max<std::int64_t>(hidden / 4, 64))),
        sublayers(2 * layers),
        blocks(config.at("oasis").value("block_count", std::int64_t{0})),
        tied(config.at("tie_word_embeddings")),
        qk_norm(config.at("model_type") == "qwen3"),
        gate(config.at("oasis").at("gate")),
        learned_beta(config.at("oasis").at("coupling") == "learned"),
        routing(config.at("oasis").at("routing")) {}

  std::int64_t attention_weights() const { return hidden * head_dim * (2 * heads + 2 * kv_heads); }
  std::int64_t mlp_weights() const { return 3 * hidden * intermediate; }

  // Sources over all routers of one forward pass.
  std::int64_t sources() const {
    std::int64_t total = 0;
    if (routing == "projected") {
      for (std::int64_t i = 0; i < layers; ++i) total += (i + 2) + (i + 3);
    } else if (routing == "pseudo_query") {
      for (std::int64_t i = 0; i <= sublayers; ++i) total += i + 1;
    } else if (routing == "block") {
      const std::int64_t run = sublayers / blocks;
      for (std::int64_t i = 0; i <= sublayers; ++i) total += 1 + (i + run - 1) / run;
    }
    return total;
  }
};

constexpr double kBytesPerFloat = 4;
constexpr double kFloatsPerParameter = 4;  // weight, gradient, two moments of AdamW

}  // namespace

std::int64_t parameter_count(const Json& model_config) {
  const Shape s(model_config);
  std::int64_t layer = 2 * s.hidden + s.attention_weights() + s.mlp_weights();
  if (s.qk_norm) layer += 2 * s.head_dim;
  if (s.gate) layer += s.hidden + s.heads;
  std::int64_t router = 0;
  if (s.routing == "projected") router = 2 * s.router * s.hidden + 1;
  if (s.routing == "pseudo_query" || s.routing == "block") router = 2 * s.hidden;
  if (s.routing != "none" && s.learned_beta) router += 1;
  const std::int64_t routers = s.routing == "none"        ? 0
                               : s.routing == "projected" ? s.sublayers
                                                          : s.sublayers + 1;
  const std::int64_t embeddings = s.vocab * s.hidden * (s.tied ? 1 : 2);
  return embeddings + s.layers * layer + routers * router + s.hidden;
}

double forward_flops_per_token(const Json& model_config, std::int64_t block_length) {
  const Shape s(model_config);
  const auto layers = static_cast<double>(s.layers);
  const double weights = layers * static_cast<double>(s.attention_weights() + s.mlp_weights()) +
                         static_cast<double>(s.vocab * s.hidden);
  const double keys = static_cast<double>(block_length + 1) / 2;
  const double attention = layers * keys * static_cast<double>(s.heads * s.head_dim) * 2;
  const double routing = static_cast<double>(s.sources() * s.hidden) * 2;  // logits and sum
  const double router_weights =
      s.routing == "projected" ? static_cast<double>(2 * s.sublayers * s.router * s.hidden) : 0;
  return 2 * (weights + attention + routing + router_weights);
}

std::int64_t evaluated_blocks(const Suite& suite, const SplitIdentity& split) {
  const std::int64_t length = suite.evaluation.block_length.value_or(suite.training.block_length);
  const std::int64_t blocks = split.tokens / length;
  return std::min(blocks, suite.evaluation.sequences.value_or(blocks));
}

CellCost cost_of(const Plan& plan, const Cell& cell, const SuiteData::ForTraining& data) {
  const TrainingSpec training = training_of(plan.suite, cell.method);
  const Shape shape(cell.model_config);
  CellCost cost;
  cost.parameters = parameter_count(cell.model_config);
  cost.training_tokens = training.steps * training.sequences_per_step * training.block_length;
  const std::int64_t length = plan.suite.evaluation.block_length.value_or(training.block_length);
  for (const Stage& stage : cell.stages) {
    if (stage.kind == StageKind::kPretrain) continue;
    if (stage.kind == StageKind::kFineTune) {
      const FineTuningSpec& spec = *plan.suite.gsm8k->fine_tuning;
      cost.training_tokens += spec.steps * spec.sequences_per_step * data.gsm8k.example_tokens;
      continue;
    }
    if (stage.kind == StageKind::kGenerate) {
      const auto& questions = stage.after_fine_tuning ? data.gsm8k.zero_shot : data.gsm8k.few_shot;
      cost.generation_tokens +=
          questions.prompt_tokens + data.gsm8k.problems * plan.suite.gsm8k->max_new_tokens;
      continue;
    }
    cost.evaluation_tokens +=
        evaluated_blocks(plan.suite, data.evaluated.at(stage.dataset)) * length;
    if (stage.quantization) {
      cost.evaluation_tokens += stage.quantization->calibration_batches *
                                stage.quantization->calibration_batch_size * training.block_length;
    }
  }
  cost.flops = 3 * forward_flops_per_token(cell.model_config, training.block_length) *
                   static_cast<double>(cost.training_tokens) +
               forward_flops_per_token(cell.model_config, length) *
                   static_cast<double>(cost.evaluation_tokens + cost.generation_tokens);
  // Kept for the backward pass of a layer, per token: inputs and normalised inputs of both
  // sublayers, q, k, v, attention output, gate, up and their product, and the sublayers' outputs,
  // which are the routers' sources.
  const auto micro_tokens = static_cast<double>(
      training.micro_batch.value_or(training.sequences_per_step) * training.block_length);
  const auto floats_per_layer =
      static_cast<double>(6 * shape.hidden + 2 * (shape.heads + shape.kv_heads) * shape.head_dim +
                          3 * shape.intermediate);
  cost.memory_bytes =
      kBytesPerFloat * (kFloatsPerParameter * static_cast<double>(cost.parameters) +
                        micro_tokens * static_cast<double>(shape.layers) * floats_per_layer);
  return cost;
}

}  // namespace oasis
