// The quantization flags that `oasis inspect` and `oasis evaluate` share.
#pragma once

#include <c10/core/ScalarType.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "models/quantization.h"

namespace CLI {
class App;
}

namespace oasis {

struct QuantizationFlags {
  int weight_bits = 0, activation_bits = 0;  // 0: not given
  std::filesystem::path calibration;
  std::string points = "published";
  std::string weight_range = "min_max", weight_grain = "tensor", activation_range = "percentile";

  void add_to(CLI::App& command);

  bool given() const { return weight_bits != 0 || activation_bits != 0; }
  // Throws Error (bad input) when flags are missing or contradict each other.
  void check() const;
  std::vector<std::string> differences() const;  // from the published quantizer, in words
  QuantizationOptions options() const;           // throws Error (bad input) for an unknown name
  // The model quantized and calibrated on the file's tokens [batches, B, T].
  std::unique_ptr<QuantizedModel> calibrated(const Decoder& model) const;
};

// "float32" or "float64". Throws Error (bad input).
c10::ScalarType parse_dtype(const std::string& name);

}  // namespace oasis
