// The safetensors format (https://github.com/huggingface/safetensors): an 8-byte little-endian
// header length, a JSON header, and the tensors' bytes.
//
// Files come from strangers: every length and offset is checked before it is used, and an error
// names the file, the tensor and what is wrong. Files written here carry a SHA-256 of
// header and tensors in the metadata ("sha256"), and one that carries it is checked when it is
// read.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace oasis {

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;
using Metadata = std::map<std::string, std::string>;

struct SafetensorsFile {
  NamedTensors tensors;  // in the order of their bytes in the file
  Metadata metadata;

  // Throws Error (bad input) naming `path` when there is no such tensor.
  const at::Tensor& at(const std::string& name, const std::filesystem::path& path) const;
  bool contains(const std::string& name) const;
};

// Maps a file: a tensor's bytes are read when they are touched (of a file with a hash, now), and
// what is written to it stays in this process. The file must not be cut short meanwhile. Throws
// Error (bad input).
SafetensorsFile read_safetensors(const std::filesystem::path& path);

// Writes atomically. Tensors may be on any device and of any strides.
void write_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                       Metadata metadata = {});

// `tokens` of a token file, int64, checked to have `dimensions` dimensions and values in
// [0, vocab_size). Throws Error (bad input) naming file, row, column and token.
at::Tensor read_tokens(const std::filesystem::path& path, int64_t dimensions, int64_t vocab_size);

}  // namespace oasis
