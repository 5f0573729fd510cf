// The flags that `oasis generate` and `oasis gsm8k generate` share.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "datasets/tokenizer.h"
#include "suites/plan.h"
#include "suites/quantization_flags.h"
#include "suites/text_generation.h"

namespace CLI {
class App;
}

namespace oasis {

struct GenerationFlags {
  std::filesystem::path checkpoint;
  std::int64_t max_new_tokens = 256, batch = 0;  // 0: 8 on the CPU, 256 on a GPU
  std::string device = "auto", dtype = "auto";
  QuantizationFlags quantization;

  void add_to(CLI::App& command);
  // Throws Error (bad input) for flags that contradict each other or a device that is not there.
  RunDevice choose() const;
  GenerationOptions options(const RunDevice& device) const;
};

// A checkpoint with its tokenizer, ready to generate. Throws Error (bad input) naming what is
// missing or does not fit together.
struct GenerationCheckpoint {
  GenerationCheckpoint(const GenerationFlags& flags, const RunDevice& device);

  TokenizerPtr tokenizer;
  GenerationModel model;
};

}  // namespace oasis
