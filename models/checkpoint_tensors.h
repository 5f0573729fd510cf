// The tensors of a checkpoint folder in Hugging Face's layout: model.safetensors, or the shards
// that model.safetensors.index.json lists ({"weight_map": {tensor: shard}}).
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace oasis {

inline constexpr const char* kWeightsFile = "model.safetensors";
inline constexpr const char* kWeightsIndex = "model.safetensors.index.json";

// The files that hold the weights, sorted by name. Throws Error (bad input) naming the file:
// neither is there, an index that is no index, a shard outside the folder.
std::vector<std::filesystem::path> weight_files(const std::filesystem::path& folder);

class CheckpointTensors {
 public:
  struct Stored {
    at::Tensor tensor;  // in its file's memory
    std::filesystem::path file;
  };

  // Maps every file. Throws Error (bad input) naming file and tensor: a missing or damaged file, a
  // shard without a tensor that the index says is in it, or with one that it does not.
  explicit CheckpointTensors(const std::filesystem::path& folder);

  // Throws Error (bad input) when there is no such tensor.
  const Stored& at(const std::string& name) const;
  const std::map<std::string, Stored>& all() const { return tensors_; }

 private:
  void read_shards(const std::filesystem::path& index);

  std::filesystem::path source_;  // model.safetensors or the index
  std::map<std::string, Stored> tensors_;
};

}  // namespace oasis
