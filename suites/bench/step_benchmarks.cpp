#include "suites/bench/step_benchmarks.h"

#include <ATen/ops/randint.h>
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "baselines/method_config.h"
#include "baselines/registry.h"
#include "kernels/benchmark/timing.h"
#include "models/initialization.h"
#include "models/trainer.h"
#include "suites/cost.h"
#include "support/error.h"
#include "support/text.h"

namespace oasis::bench {
namespace {

constexpr int kWarmUp = 3;   // on CUDA: directly, recorded, played
constexpr int kBatches = 8;  // random batches that take turns

struct Size {
  std::int64_t layers, hidden, heads, intermediate, vocabulary;
  std::int64_t length, sequences;

  std::int64_t tokens() const { return length * sequences; }
};

std::vector<Size> sizes(const Target& target) {
  if (target.quick) return {{2, 128, 4, 256, 1024, 128, 4}};
  if (!target.cuda()) return {{6, 384, 6, 1024, 4096, 512, 4}};
  return {{12, 768, 12, 2048, 32000, 512, 48}, {12, 768, 12, 2048, 32000, 2048, 8}};
}

ModelConfig config_of(const MethodDeclaration& method, const Size& size) {
  const nlohmann::json config = {{"vocab_size", size.vocabulary},
                                 {"hidden_size", size.hidden},
                                 {"num_hidden_layers", size.layers},
                                 {"num_attention_heads", size.heads},
                                 {"intermediate_size", size.intermediate},
                                 {"tie_word_embeddings", true},
                                 {"oasis",
                                  {{"method", method.name},
                                   {"routing", method.is_routed() ? "projected" : "none"},
                                   {"clip_gamma", -12.0 / static_cast<double>(size.length)}}}};
  return parse_checkpoint_config(config, "step benchmark");
}

// A model in training.
class Training {
 public:
  Training(const ModelConfig& config, const Size& size, const Target& target)
      : sequences_(size.sequences),
        model_(fresh(config, target)),
        trainer_(model_, options(target)) {
    for (int i = 0; i < kBatches; ++i) {
      tokens_.push_back(at::randint(size.vocabulary, {size.sequences, size.length}, at::kLong));
    }
  }

  void step() {
    const auto report = trainer_.step(tokens_[static_cast<std::size_t>(steps_++ % kBatches)]);
    if (!report.is_finite()) throw failed("the loss is not finite after {} steps", steps_);
    if (report.micro_batch < sequences_) {
      throw failed("{} sequences do not fit into the device's memory at once, only {} do",
                   sequences_, report.micro_batch);
    }
  }

 private:
  static TrainingOptions options(const Target& target) {
    TrainingOptions options;
    options.autocast_bf16 = target.cuda();
    return options;
  }

  static Decoder fresh(const ModelConfig& config, const Target& target) {
    Decoder model(config, at::TensorOptions(at::kFloat));
    initialize(model, {}, 0);
    return model.to(at::TensorOptions(at::kFloat).device(target.device));
  }

  std::int64_t sequences_;
  Decoder model_;
  Trainer trainer_;
  Tensors tokens_;
  std::int64_t steps_ = 0;
};

Benchmark make_benchmark(const MethodDeclaration& method, const Size& size, const Target& target) {
  const auto config = config_of(method, size);
  const auto json = checkpoint_config_json(config);
  Benchmark row;
  row.dtype = target.cuda() ? at::kBFloat16 : at::kFloat;
  const auto parameters = static_cast<double>(parameter_count(json));
  row.labels = {"step",
                std::string(method.name),
                fmt::format("L{} D{} V{} T{} {} tokens", size.layers, size.hidden, size.vocabulary,
                            size.length, size.tokens()),
                dtype_name(row.dtype),
                "step",
                "ours",
                ""};
  row.tokens = size.tokens();
  row.flops = 3 * forward_flops_per_token(json, size.length) * static_cast<double>(size.tokens());
  // Weight and moments read and written, the gradient written and read.
  row.bytes = 8 * parameters * bytes_of(at::kFloat);
  row.prepare = [=] {
    const auto training = std::make_shared<Training>(config, size, target);
    for (int i = 0; i < kWarmUp; ++i) training->step();
    synchronize(target.device);
    return Prepared{[training] { training->step(); }};
  };
  return row;
}

}  // namespace

std::vector<Benchmark> step_benchmarks(const Target& target) {
  std::vector<Benchmark> benchmarks;
  for (const auto& size : sizes(target)) {
    // The plain residual sum first: what the others are set beside.
    benchmarks.push_back(make_benchmark(find_method("prenorm"), size, target));
    for (const auto& method : methods()) {
      if (method.name != "prenorm") benchmarks.push_back(make_benchmark(method, size, target));
    }
  }
  return benchmarks;
}

}  // namespace oasis::bench
