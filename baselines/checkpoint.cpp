#include "baselines/checkpoint.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>

#include "baselines/method_config.h"
#include "models/checkpoint_tensors.h"
#include "models/safetensors.h"
#include "models/stored_weights.h"
#include "support/atomic_file.h"
#include "support/error.h"
#include "support/sha256.h"
#include "support/text.h"

namespace oasis {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

json read_config_json(const fs::path& folder) {
  if (!fs::is_directory(folder)) {
    throw bad_input(
        "{}: not a checkpoint folder (expected config.json and model.safetensors in it)",
        folder.string());
  }
  const auto path = folder / "config.json";
  std::ifstream file(path);
  if (!file) throw bad_input("{}: cannot be read; a checkpoint folder needs it", path.string());
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  try {
    return json::parse(text);
  } catch (const json::parse_error& error) {
    throw bad_input("{}: not valid JSON: {}", path.string(), error.what());
  }
}

const char* dtype_name(at::ScalarType type) {
  switch (type) {
    case at::kBFloat16:
      return "bfloat16";
    case at::kHalf:
      return "float16";
    case at::kDouble:
      return "float64";
    default:
      return "float32";
  }
}

// Every tensor that the configuration asks for is there, in its shape, and no other. Nothing is
// allocated: a configuration may ask for more than there is memory.
void check_tensors(const ModelConfig& config, const CheckpointTensors& stored) {
  // Before every layer of it is listed.
  stored.at(fmt::format("model.layers.{}.input_layernorm.weight", config.num_hidden_layers - 1));
  const Decoder shapes(config, at::TensorOptions(at::kFloat).device(at::kMeta));
  std::set<std::string> used;
  std::vector<std::string> known;
  for (const auto& weight : stored_weights(shapes)) {
    const auto& [tensor, file] = stored.at(weight.name);
    if (tensor.sizes().vec() != weight.sizes()) {
      throw bad_input("{}: tensor '{}' is {}, config.json asks for {}", file.string(), weight.name,
                      fmt::join(tensor.sizes().vec(), "×"), fmt::join(weight.sizes(), "×"));
    }
    if (!tensor.is_floating_point()) {
      throw bad_input("{}: tensor '{}' is {}, not floating point", file.string(), weight.name,
                      c10::toString(tensor.scalar_type()));
    }
    used.insert(weight.name);
    known.push_back(weight.name);
  }
  const auto is_same = [&](const at::Tensor& tensor, const char* other_name) {
    const auto& other = stored.at(other_name).tensor;
    return tensor.scalar_type() == other.scalar_type() && tensor.equal(other);
  };
  for (const auto& [name, entry] : stored.all()) {
    if (!used.contains(name) && !(config.tie_word_embeddings && name == "lm_head.weight" &&
                                  is_same(entry.tensor, "model.embed_tokens.weight"))) {
      throw bad_input("{}: tensor '{}' has no place in this configuration{}", entry.file.string(),
                      name, known.size() < 20 ? suggestion(name, known) : "");
    }
  }
}

}  // namespace

ModelConfig read_checkpoint_config(const fs::path& folder) {
  return parse_checkpoint_config(read_config_json(folder), (folder / "config.json").string());
}

Decoder load_checkpoint(const fs::path& folder, at::ScalarType type) {
  const auto config = read_checkpoint_config(folder);
  const CheckpointTensors stored(folder);
  check_tensors(config, stored);
  Decoder model(config, at::TensorOptions(type));
  for (const auto& weight : stored_weights(model)) weight.assign(stored.at(weight.name).tensor);
  return model;
}

Decoder load_checkpoint_as(const fs::path& folder, const MethodSpec& method,
                           const InitializationOptions& options, uint64_t seed) {
  const auto source = load_checkpoint(folder, at::kFloat);
  auto config = source.config();
  config.method = method;
  Decoder model(config, at::TensorOptions(at::kFloat));
  initialize(model, options, seed);
  const std::map<std::string, at::Tensor> given(source.parameters().begin(),
                                                source.parameters().end());
  for (const auto& [name, parameter] : model.parameters()) {
    const auto found = given.find(name);
    if (found == given.end()) continue;
    if (found->second.sizes() != parameter.sizes()) {
      throw bad_input("{}: tensor '{}' is {}, method '{}' asks for {}", folder.string(), name,
                      fmt::join(found->second.sizes(), "×"), method.method,
                      fmt::join(parameter.sizes(), "×"));
    }
    parameter.copy_(found->second);
  }
  return model;
}

StorageTypes storage_types(const fs::path& folder) {
  StorageTypes types;
  const CheckpointTensors tensors(folder);
  for (const auto& [name, stored] : tensors.all()) {
    types[name] = stored.tensor.scalar_type();
  }
  return types;
}

std::string checkpoint_hash(const fs::path& folder) {
  auto files = weight_files(folder);
  files.insert(files.begin(), folder / "config.json");
  std::string hashes;
  for (const auto& file : files) hashes += sha256_file(file);
  return sha256_hex(hashes);
}

void save_checkpoint(const Decoder& model, const fs::path& folder, const StorageTypes& types) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    throw bad_input("{}: cannot be made: {}; choose a writable folder", folder.string(),
                    error.message());
  }
  const auto type_of = [&](const std::string& name) {
    const auto found = types.find(name);
    return found == types.end() ? at::kFloat : found->second;
  };
  NamedTensors tensors;
  for (const auto& weight : stored_weights(model)) {
    tensors.emplace_back(weight.name, weight.stack([&](const at::Tensor& part) {
      return part.detach().to(type_of(weight.name));
    }));
  }
  auto config = checkpoint_config_json(model.config());
  config["torch_dtype"] = dtype_name(type_of("model.embed_tokens.weight"));
  write_safetensors(folder / kWeightsFile, tensors, {{"format", "pt"}});
  write_file_atomically(folder / "config.json", config.dump(2) + "\n");
}

}  // namespace oasis
