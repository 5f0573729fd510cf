#include "suites/quantization_flags.h"

#include <CLI/CLI.hpp>

#include "models/safetensors.h"
#include "suites/suite.h"
#include "support/error.h"
#include "support/text.h"

namespace oasis {

void QuantizationFlags::add_to(CLI::App& command) {
  auto* bits = command.add_option("--weight-bits", weight_bits, "Quantize weights to 2 to 16 bits");
  command.add_option("--activation-bits", activation_bits, "Quantize activations to 2 to 16 bits");
  command.add_option("--calibration", calibration,
                     "safetensors file with int64 tokens [batches,B,T] to set the ranges");
  command.add_option("--points", points, "Quantization points: published or all_inputs")
      ->needs(bits)
      ->capture_default_str();
  command.add_option("--weight-range", weight_range, "Reach of a weight's grid: min_max or mse")
      ->needs(bits)
      ->capture_default_str();
  command
      .add_option("--weight-grain", weight_grain,
                  "What shares a weight's scale: tensor, row or group (64 in a row)")
      ->needs(bits)
      ->capture_default_str();
  command
      .add_option("--activation-range", activation_range,
                  "Scale of an activation: percentile (calibrated) or per_token")
      ->needs(bits)
      ->capture_default_str();
}

std::vector<std::string> QuantizationFlags::differences() const {
  return quantizer_differences(weight_range, weight_grain, activation_range);
}

QuantizationOptions QuantizationFlags::options() const {
  QuantizationOptions options;
  options.weight_bits = weight_bits;
  options.activation_bits = activation_bits;
  options.points = parse_quantization_points(points);
  options.weights = {parse_weight_range(weight_range), parse_weight_grain(weight_grain)};
  options.activations = parse_activation_range(activation_range);
  return options;
}

void QuantizationFlags::check() const {
  const auto parsed = options();
  if (!given()) {
    if (!calibration.empty()) {
      throw bad_input(
          "--calibration is for quantization; give --weight-bits and "
          "--activation-bits too");
    }
    return;
  }
  if (weight_bits == 0 || activation_bits == 0) {
    throw bad_input("--weight-bits and --activation-bits come together");
  }
  parsed.validate();
  const bool needs_ranges = parsed.activations == ActivationRange::kPercentile;
  if (needs_ranges && calibration.empty()) {
    throw bad_input(
        "quantized activations need ranges; give --calibration FILE with tokens "
        "[batches,B,T], or --activation-range per_token");
  }
  if (!needs_ranges && !calibration.empty()) {
    throw bad_input("--activation-range per_token has no ranges; leave --calibration out");
  }
}

std::unique_ptr<QuantizedModel> QuantizationFlags::calibrated(const Decoder& model) const {
  auto quantized = std::make_unique<QuantizedModel>(model, options());
  if (calibration.empty()) return quantized;
  const auto tokens = read_tokens(calibration, 3, model.config().vocab_size);
  const auto device = model.embed_tokens().device();
  for (int64_t i = 0; i < tokens.size(0); ++i) quantized->calibrate(tokens.select(0, i).to(device));
  return quantized;
}

c10::ScalarType parse_dtype(const std::string& name) {
  if (name == "float32") return at::kFloat;
  if (name == "float64") return at::kDouble;
  throw bad_input("unknown dtype '{}'{}", name, suggestion(name, {"float32", "float64"}));
}

}  // namespace oasis
