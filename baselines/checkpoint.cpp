#include "baselines/checkpoint.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>

#include "baselines/method_config.h"
#include "models/safetensors.h"
#include "models/stored_weights.h"
#include "support/atomic_file.h"
#include "support/error.h"
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

}  // namespace

ModelConfig read_checkpoint_config(const fs::path& folder) {
  return parse_checkpoint_config(read_config_json(folder), (folder / "config.json").string());
}

Decoder load_checkpoint(const fs::path& folder, at::ScalarType type) {
  const auto config = read_checkpoint_config(folder);
  const auto path = folder / "model.safetensors";
  const auto file = read_safetensors(path);
  Decoder model(config, at::TensorOptions(type));
  std::set<std::string> used;
  std::vector<std::string> known;
  for (const auto& weight : stored_weights(model)) {
    const auto& stored = file.at(weight.name, path);
    if (stored.sizes().vec() != weight.sizes()) {
      throw bad_input("{}: tensor '{}' is {}, config.json asks for {}", path.string(), weight.name,
                      fmt::join(stored.sizes().vec(), "×"), fmt::join(weight.sizes(), "×"));
    }
    if (!stored.is_floating_point()) {
      throw bad_input("{}: tensor '{}' is {}, not floating point", path.string(), weight.name,
                      c10::toString(stored.scalar_type()));
    }
    weight.assign(stored);
    used.insert(weight.name);
    known.push_back(weight.name);
  }
  for (const auto& [name, tensor] : file.tensors) {
    const bool tied_head = config.tie_word_embeddings && name == "lm_head.weight" &&
                           tensor.equal(file.at("model.embed_tokens.weight", path));
    if (!used.contains(name) && !tied_head) {
      throw bad_input("{}: tensor '{}' has no place in this configuration{}", path.string(), name,
                      known.size() < 20 ? suggestion(name, known) : "");
    }
  }
  return model;
}

void save_checkpoint(const Decoder& model, const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    throw bad_input("{}: cannot be made: {}; choose a writable folder", folder.string(),
                    error.message());
  }
  NamedTensors tensors;
  for (const auto& weight : stored_weights(model)) {
    tensors.emplace_back(weight.name, weight.stack([](const at::Tensor& part) {
      return part.detach().to(at::kFloat);
    }));
  }
  write_safetensors(folder / "model.safetensors", tensors, {{"format", "pt"}});
  write_file_atomically(folder / "config.json",
                        checkpoint_config_json(model.config()).dump(2) + "\n");
}

}  // namespace oasis
