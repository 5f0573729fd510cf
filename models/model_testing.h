// What the tests of models and baselines share: small models, tokens, folders, messages.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/remainder.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>

#include "models/decoder.h"
#include "models/initialization.h"
#include "support/error.h"

namespace oasis::testing_support {

inline ModelConfig small_config(MethodSpec method = {}) {
  ModelConfig config;
  config.vocab_size = 19;
  config.hidden_size = 12;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 3;
  config.num_key_value_heads = 1;
  config.head_dim = 4;
  config.intermediate_size = 20;
  config.method = std::move(method);
  return config;
}

inline MethodSpec routed(Routing routing, Normalizer normalizer, Coupling::Kind coupling) {
  MethodSpec method;
  method.method = "test";
  method.token.kind = normalizer;
  method.depth = NormalizerSpec{.kind = normalizer};
  method.routing = routing;
  method.coupling.kind = coupling;
  if (routing == Routing::kProjected) method.router_size = 8;
  if (routing == Routing::kBlock) method.block_count = 2;
  return method;
}

// Weights far enough from zero that every part of the model has a say.
inline Decoder small_model(const ModelConfig& config, at::ScalarType type = at::kDouble,
                           uint64_t seed = 11) {
  Decoder model(config, at::TensorOptions(type));
  initialize(model, {.initializer_range = 0.3, .recency_bias = 1.0, .beta_raw = 0.5}, seed);
  return model;
}

// int64 [sequences, length] in [0, vocab_size)
inline at::Tensor some_tokens(int64_t sequences, int64_t length, int64_t vocab_size = 19) {
  const auto count = at::arange(sequences * length, at::TensorOptions(at::kLong));
  return at::remainder(count * count + 3 * count + 1, vocab_size).view({sequences, length});
}

inline double relative_error(const at::Tensor& found, const at::Tensor& expected) {
  return ((found.to(at::kDouble) - expected.to(at::kDouble)).norm() /
          expected.to(at::kDouble).norm())
      .item<double>();
}

class TemporaryFolder {
 public:
  TemporaryFolder() {
    auto pattern = (std::filesystem::temp_directory_path() / "oasis-test-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary folder");
    path_ = pattern;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

inline std::string read_bytes(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

inline void write_bytes(const std::filesystem::path& path, const std::string& bytes) {
  // Some file systems flush a file that is written over, and tests do that thousands of times.
  std::filesystem::remove(path);
  std::ofstream(path, std::ios::binary) << bytes;
}

// The message of the bad-input Error that `call` throws; says so when it throws none.
template <typename Call>
std::string refusal(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.kind() == Error::Kind::kBadInput ? error.what()
                                                  : std::string("not bad input: ") + error.what();
  }
  return "no error";
}

// Whether the message holds every one of the texts.
template <typename... Texts>
testing::AssertionResult says(const std::string& message, const Texts&... texts) {
  if (((message.find(texts) != std::string::npos) && ...)) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "the message is: " << message;
}

}  // namespace oasis::testing_support
