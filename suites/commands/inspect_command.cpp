#include "suites/commands/inspect_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "baselines/checkpoint.h"
#include "kernels/cross_entropy/linear_cross_entropy.h"
#include "models/quantization.h"
#include "models/safetensors.h"
#include "suites/inspection.h"
#include "suites/quantization_flags.h"
#include "support/error.h"

namespace oasis {
namespace {

struct InspectArguments {
  std::filesystem::path checkpoint, tokens, out;
  std::string dtype = "float32";
  InspectionOptions options;
  bool with_targets = false;
  QuantizationFlags quantization;
};

at::Tensor read_targets(const std::filesystem::path& path, const at::Tensor& tokens,
                        int64_t vocabulary) {
  const auto file = read_safetensors(path);
  const auto& targets = file.at("targets", path);
  if (targets.scalar_type() != at::kLong || targets.sizes() != tokens.sizes()) {
    throw bad_input("{}: 'targets' must be int64 of the shape of 'tokens'", path.string());
  }
  const auto* values = targets.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < targets.numel(); ++i) {
    if (values[i] == kIgnoredTarget || (values[i] >= 0 && values[i] < vocabulary)) continue;
    throw bad_input("{}: target {} at row {}, position {} is neither {} nor in [0, {})",
                    path.string(), values[i], i / tokens.size(1), i % tokens.size(1),
                    kIgnoredTarget, vocabulary);
  }
  return targets;
}

void run(const InspectArguments& arguments) {
  if (arguments.options.gradients && arguments.quantization.given()) {
    throw bad_input(
        "--gradients is of the unquantized model; leave out --weight-bits and "
        "--activation-bits, or --gradients");
  }
  arguments.quantization.check();
  auto model = load_checkpoint(arguments.checkpoint, parse_dtype(arguments.dtype));
  const int64_t vocabulary = model.config().vocab_size;
  const auto tokens = read_tokens(arguments.tokens, 2, vocabulary);
  std::unique_ptr<QuantizedModel> quantized;
  if (arguments.quantization.given()) quantized = arguments.quantization.calibrated(model);
  auto options = arguments.options;
  if (arguments.with_targets) {
    options.targets = read_targets(arguments.tokens, tokens, vocabulary);
  }
  write_safetensors(arguments.out, inspect(model, tokens, options, quantized.get()));
}

}  // namespace

void add_inspect_command(CLI::App& app) {
  const auto arguments = std::make_shared<InspectArguments>();
  auto* command = app.add_subcommand(
      "inspect", "Run one forward pass and write everything it computes as safetensors");
  command->add_option("checkpoint", arguments->checkpoint, "Checkpoint folder")->required();
  command->add_option("--tokens", arguments->tokens, "safetensors file with int64 tokens [B,T]")
      ->required();
  command->add_option("--out", arguments->out, "safetensors file to write")->required();
  command->add_option("--dtype", arguments->dtype, "float32 or float64")->capture_default_str();
  command->add_flag("--attention", arguments->options.attention,
                    "Also the attention probabilities, probs.{layer} [B,H,T,T]");
  command->add_flag("--gradients", arguments->options.gradients,
                    "Also grad.{weight}, of the mean next-token cross-entropy");
  command->add_flag("--targets", arguments->with_targets,
                    "The tokens file also holds int64 targets [B,T], what each position predicts "
                    "or -100: also loss, their mean cross-entropy, and --gradients are of it");
  arguments->quantization.add_to(*command);
  command->callback([arguments] { run(*arguments); });
}

}  // namespace oasis
