// A checkpoint folder in Hugging Face's layout: config.json (with the object "oasis"), the weights
// in one safetensors file or in shards with an index, tokenizer files.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "models/decoder.h"
#include "models/initialization.h"

namespace oasis {

// Reads config.json alone. Throws Error (bad input).
ModelConfig read_checkpoint_config(const std::filesystem::path& folder);

// Reads a folder into a decoder of the given floating type on the CPU. Throws Error (bad input)
// naming the file and the tensor: missing, left over, misshapen, damaged. Tied checkpoints may
// carry an lm_head.weight that equals the embedding.
Decoder load_checkpoint(const std::filesystem::path& folder, at::ScalarType type);

// The folder's model under another method, in float32: what both have is kept, routers, gates and
// whatever else the folder lacks start as `options` say (models/initialization.h). `prenorm` gives
// the original function. Throws Error (bad input) also where the two disagree in a shape.
Decoder load_checkpoint_as(const std::filesystem::path& folder, const MethodSpec& method,
                           const InitializationOptions& options, uint64_t seed);

// How a folder stores each tensor; what is not named, in float32.
using StorageTypes = std::map<std::string, at::ScalarType>;
StorageTypes storage_types(const std::filesystem::path& folder);

// SHA-256, in hexadecimal, over config.json and the files of the weights.
std::string checkpoint_hash(const std::filesystem::path& folder);

// Writes config.json and model.safetensors, each atomically; the folder is made.
void save_checkpoint(const Decoder& model, const std::filesystem::path& folder,
                     const StorageTypes& types = {});

}  // namespace oasis
