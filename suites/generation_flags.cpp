#include "suites/generation_flags.h"

#include <CLI/CLI.hpp>

#include "baselines/checkpoint.h"
#include "suites/compute.h"
#include "suites/torch_options.h"
#include "support/error.h"

namespace oasis {
namespace {

TokenizerPtr tokenizer_of(const std::filesystem::path& checkpoint) {
  const auto vocabulary = read_checkpoint_config(checkpoint).vocab_size;
  if (!has_tokenizer(checkpoint)) {
    throw bad_input("{}: no {} and no tokenizer.json; without one there is no text to generate",
                    checkpoint.string(), kTokenizerFile);
  }
  auto tokenizer = load_tokenizer(checkpoint);
  if (tokenizer->vocab_size() > vocabulary) {
    throw bad_input("{}: the tokenizer has {} ids and the model {}; is it the model's tokenizer?",
                    checkpoint.string(), tokenizer->vocab_size(), vocabulary);
  }
  return tokenizer;
}

GenerationModel model_of(const GenerationFlags& flags, const RunDevice& run_device) {
  const auto device = torch_device(run_device);
  auto model = load_checkpoint(flags.checkpoint, at::kFloat);
  if (!flags.quantization.given()) {
    return {model, run_device.dtype == "bfloat16" ? at::kBFloat16 : at::kFloat, device};
  }
  return GenerationModel(
      flags.quantization.calibrated(model.to(at::TensorOptions(at::kFloat).device(device))));
}

}  // namespace

void GenerationFlags::add_to(CLI::App& command) {
  command.add_option("checkpoint", checkpoint, "Checkpoint folder with its tokenizer")->required();
  command.add_option("--max-new-tokens", max_new_tokens, "A text ends here at the latest")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 20))
      ->capture_default_str();
  command
      .add_option("--batch", batch,
                  "Texts at a time; 8 on the CPU and 256 on a GPU unless given. Texts depend on it "
                  "within rounding only")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{65535}));
  command.add_option("--device", device, "cpu, cuda or auto")
      ->check(CLI::IsMember({"cpu", "cuda", "auto"}))
      ->capture_default_str();
  command
      .add_option("--dtype", dtype,
                  "float32 or bfloat16 (on a GPU); auto: bfloat16 on a GPU, else float32")
      ->check(CLI::IsMember({"float32", "bfloat16", "auto"}))
      ->capture_default_str();
  quantization.add_to(command);
}

RunDevice GenerationFlags::choose() const {
  quantization.check();
  if (quantization.given() && dtype == "bfloat16") {
    throw bad_input("--dtype bfloat16: a quantized model is simulated in float32");
  }
  auto chosen = choose_device(device, quantization.given() ? "float32" : "auto", "--device");
  if (dtype == "bfloat16" && chosen.type == "cpu") {
    throw bad_input("--dtype bfloat16 is for a GPU; use auto or float32 on the CPU");
  }
  if (dtype != "auto") chosen.dtype = dtype;
  return chosen;
}

GenerationOptions GenerationFlags::options(const RunDevice& chosen) const {
  GenerationOptions options;
  options.max_new_tokens = max_new_tokens;
  options.batch = batch > 0 ? batch : default_batch(chosen);
  // Simulated quantization asks the host for ranges as it goes.
  options.cuda_graph = !quantization.given();
  return options;
}

GenerationCheckpoint::GenerationCheckpoint(const GenerationFlags& flags, const RunDevice& device)
    : tokenizer(tokenizer_of(flags.checkpoint)), model(model_of(flags, device)) {}

}  // namespace oasis
