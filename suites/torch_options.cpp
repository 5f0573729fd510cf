#include "suites/torch_options.h"

#include <ATen/Context.h>
#include <ATen/ops/from_blob.h>

#include "baselines/checkpoint.h"
#include "baselines/method_config.h"
#include "models/initialization.h"
#include "suites/text_generation.h"
#include "support/error.h"

namespace oasis {
namespace {

InitializationOptions initialization_options(const InitializationSpec& spec) {
  InitializationOptions options;
  options.initializer_range = spec.initializer_range;
  options.recency_bias = spec.recency_bias;
  options.router_query_init = parse_router_query_init(spec.router_query_init);
  options.beta_raw = spec.beta_raw;
  options.gate_init = spec.gate_init;
  return options;
}

}  // namespace

at::Tensor to_tensor(std::vector<std::int64_t> tokens, std::int64_t rows) {
  const auto columns = static_cast<std::int64_t>(tokens.size()) / rows;
  return at::from_blob(tokens.data(), {rows, columns}, at::kLong).clone();
}

at::Device torch_device(const RunDevice& device) {
  return device.type == "cuda" ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
}

ModelConfig config_of(const Cell& cell) {
  return parse_checkpoint_config(cell.model_config, cell.name);
}

TrainingOptions training_options(const OptimizationSpec& spec, const RunDevice& device) {
  TrainingOptions options;
  options.steps = spec.steps;
  options.warmup_steps = spec.warmup_steps;
  options.learning_rate = spec.learning_rate;
  options.beta1 = spec.beta1;
  options.beta2 = spec.beta2;
  options.epsilon = spec.epsilon;
  options.weight_decay = spec.weight_decay;
  options.gradient_clip = spec.gradient_clip.value_or(0.0);
  options.router_clip = spec.router_clip;
  options.micro_batch = spec.micro_batch.value_or(0);
  options.recompute = spec.activation_checkpointing;
  options.cuda_graph = spec.cuda_graph;
  options.deterministic = spec.deterministic;
  options.autocast_bf16 = device.dtype == "bfloat16";
  return options;
}

GenerationOptions generation_options(const Gsm8kSpec& spec, const Stage& stage,
                                     const RunDevice& device) {
  GenerationOptions options;
  options.max_new_tokens = spec.max_new_tokens;
  options.batch = spec.batch_size.value_or(default_batch(device));
  // Simulated quantization asks the host for ranges as it goes.
  options.cuda_graph = !stage.quantization;
  return options;
}

QuantizationOptions quantization_options(const QuantizationSpec& spec) {
  QuantizationOptions options;
  options.weight_bits = static_cast<int>(spec.weight_bits);
  options.activation_bits = static_cast<int>(spec.activation_bits);
  options.points = parse_quantization_points(spec.points);
  options.weights = {parse_weight_range(spec.weight_range), parse_weight_grain(spec.weight_grain)};
  options.activations = parse_activation_range(spec.activation_range);
  options.momentum = spec.momentum;
  options.percentile = spec.percentile;
  return options;
}

Decoder fresh_model(const Cell& cell, const RunDevice& device) {
  const auto seed = static_cast<std::uint64_t>(cell.seed);
  at::Generator generator = at::globalContext().defaultGenerator(at::kCPU);
  generator.set_current_seed(seed);
  const auto options = initialization_options(cell.method.initialization);
  if (!cell.checkpoint.empty()) {
    return load_checkpoint_as(cell.checkpoint, config_of(cell).method, options, seed)
        .to(at::TensorOptions(at::kFloat).device(torch_device(device)));
  }
  Decoder model(config_of(cell), at::TensorOptions(at::kFloat));
  initialize(model, options, seed);
  return model.to(at::TensorOptions(at::kFloat).device(torch_device(device)));
}

Decoder trained_model(const Cell& cell, const std::filesystem::path& folder,
                      const RunDevice& device) {
  auto model = load_checkpoint(folder, at::kFloat)
                   .to(at::TensorOptions(at::kFloat).device(torch_device(device)));
  if (checkpoint_config_json(model.config()) != checkpoint_config_json(config_of(cell))) {
    throw bad_input(
        "{}: not the configuration that was trained; delete the folder to train "
        "again",
        (folder / "config.json").string());
  }
  return model;
}

}  // namespace oasis
