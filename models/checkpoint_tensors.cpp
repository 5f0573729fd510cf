#include "models/checkpoint_tensors.h"

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>

#include "models/safetensors.h"
#include "support/error.h"

namespace oasis {
namespace {

namespace fs = std::filesystem;

constexpr std::uintmax_t kLargestIndex = 100'000'000;  // as for a safetensors header

std::map<std::string, std::string> read_weight_map(const fs::path& index) {
  std::ifstream file(index, std::ios::binary);
  std::error_code error;
  if (!file || fs::file_size(index, error) > kLargestIndex) {
    throw bad_input("{}: cannot be read, or larger than an index may be", index.string());
  }
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  const auto bad = [&](const std::string& what) {
    return bad_input("{}: {}; copy the checkpoint again", index.string(), what);
  };
  if (!json.is_object()) throw bad("not a JSON object");
  const auto map = json.find("weight_map");
  if (map == json.end() || !map->is_object()) throw bad("'weight_map' must be an object");
  std::map<std::string, std::string> shards;
  for (const auto& [tensor, shard] : map->items()) {
    const auto name = shard.is_string() ? shard.get<std::string>() : std::string();
    // A shard is a file beside the index, never one elsewhere.
    if (!name.ends_with(".safetensors") || name.find('/') != std::string::npos ||
        name.find('\0') != std::string::npos) {
      throw bad(fmt::format("weight_map: '{}' must name a .safetensors file of this folder, not {}",
                            tensor, shard.dump(-1, ' ', true)));
    }
    shards[tensor] = name;
  }
  if (shards.empty()) throw bad("'weight_map' is empty");
  return shards;
}

}  // namespace

std::vector<fs::path> weight_files(const fs::path& folder) {
  if (fs::exists(folder / kWeightsFile) || !fs::exists(folder / kWeightsIndex)) {
    return {folder / kWeightsFile};
  }
  std::set<fs::path> files;
  for (const auto& [tensor, shard] : read_weight_map(folder / kWeightsIndex)) {
    files.insert(folder / shard);
  }
  return {files.begin(), files.end()};
}

CheckpointTensors::CheckpointTensors(const fs::path& folder) : source_(folder / kWeightsFile) {
  if (!fs::exists(source_) && fs::exists(folder / kWeightsIndex)) {
    read_shards(folder / kWeightsIndex);
    return;
  }
  for (auto& [name, tensor] : read_safetensors(source_).tensors) {
    tensors_[name] = {std::move(tensor), source_};
  }
}

void CheckpointTensors::read_shards(const fs::path& index) {
  source_ = index;
  const auto weight_map = read_weight_map(index);
  for (const auto& file : weight_files(index.parent_path())) {
    if (!fs::exists(file)) {
      throw bad_input("{}: names the shard {}, which is not there; copy it too", index.string(),
                      file.filename().string());
    }
    for (auto& [name, tensor] : read_safetensors(file).tensors) {
      const auto place = weight_map.find(name);
      if (place == weight_map.end() || place->second != file.filename()) {
        throw bad_input("{}: holds the tensor '{}', which {} does not place there", file.string(),
                        name, kWeightsIndex);
      }
      tensors_[name] = {std::move(tensor), file};
    }
  }
  for (const auto& [name, shard] : weight_map) {
    if (!tensors_.contains(name)) {
      throw bad_input("{}: places the tensor '{}' in {}, which does not hold it", index.string(),
                      name, shard);
    }
  }
}

const CheckpointTensors::Stored& CheckpointTensors::at(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    throw bad_input("{}: tensor '{}' is missing", source_.string(), name);
  }
  return found->second;
}

}  // namespace oasis
