// A suite's settings in the types of models/.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <vector>

#include "models/decoder.h"
#include "models/generation/generator.h"
#include "models/quantization.h"
#include "models/training_options.h"
#include "suites/plan.h"

namespace oasis {

// Token ids, row by row, as int64 [rows, ids / rows] on the CPU.
at::Tensor to_tensor(std::vector<std::int64_t> tokens, std::int64_t rows);

at::Device torch_device(const RunDevice& device);
ModelConfig config_of(const Cell& cell);
TrainingOptions training_options(const OptimizationSpec& spec, const RunDevice& device);
GenerationOptions generation_options(const Gsm8kSpec& spec, const Stage& stage,
                                     const RunDevice& device);
QuantizationOptions quantization_options(const QuantizationSpec& spec);

// Initialized from the cell's seed, which also seeds Torch's generator, or from its checkpoint;
// float32 on the device.
Decoder fresh_model(const Cell& cell, const RunDevice& device);

// What a training of the cell left in a folder; float32 on the device. Throws Error (bad input)
// when the folder holds another model.
Decoder trained_model(const Cell& cell, const std::filesystem::path& folder,
                      const RunDevice& device);

}  // namespace oasis
