// A checkpoint folder in Hugging Face's layout: config.json (with the object "oasis"),
// model.safetensors, tokenizer files.
#pragma once

#include <filesystem>

#include "models/decoder.h"

namespace oasis {

// Reads config.json alone. Throws Error (bad input).
ModelConfig read_checkpoint_config(const std::filesystem::path& folder);

// Reads a folder into a decoder of the given floating type on the CPU. Throws Error (bad input)
// naming the file and the tensor: missing, left over, misshapen, damaged. Tied checkpoints may
// carry an lm_head.weight that equals the embedding.
Decoder load_checkpoint(const std::filesystem::path& folder, at::ScalarType type);

// Writes config.json and model.safetensors (float32), each atomically; the folder is made.
void save_checkpoint(const Decoder& model, const std::filesystem::path& folder);

}  // namespace oasis
