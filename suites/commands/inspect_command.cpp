#include "suites/commands/inspect_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "baselines/checkpoint.h"
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
  QuantizationFlags quantization;
};

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
  write_safetensors(arguments.out, inspect(model, tokens, arguments.options, quantized.get()));
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
  arguments->quantization.add_to(*command);
  command->callback([arguments] { run(*arguments); });
}

}  // namespace oasis
