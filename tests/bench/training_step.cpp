// Times training steps of one method and prints JSON: seconds per step (each, and the median) and
// peak memory. tests/python/bench_step.py sets it beside the eager PyTorch model on the CPU,
// tests/python/bench_gpu_step.py beside torch.compile on a GPU.
#include <ATen/Parallel.h>
#include <ATen/ops/randint.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>

#include "baselines/method_config.h"
#include "models/initialization.h"
#include "models/trainer.h"
#include "suites/compute.h"
#include "suites/torch_options.h"

namespace {

// What the GPU's allocator has held at most.
int64_t peak_device_bytes(const std::string& device) {
  if (device == "cpu") return 0;
  return at::getDeviceAllocator(at::kCUDA)->getDeviceStats(0).reserved_bytes[0].peak;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Times training steps");
  std::string method = "oasis", routing = "projected";
  int64_t layers = 6, hidden = 384, heads = 6, intermediate = 1024, vocabulary = 4096;
  int64_t length = 512, batch = 4;
  int steps = 5, warmup = 1, threads = 2;
  app.add_option("--method", method);
  app.add_option("--routing", routing);
  app.add_option("--layers", layers);
  app.add_option("--hidden", hidden);
  app.add_option("--heads", heads);
  app.add_option("--intermediate", intermediate);
  app.add_option("--vocab", vocabulary);
  app.add_option("--length", length);
  app.add_option("--batch", batch);
  app.add_option("--steps", steps);
  app.add_option("--warmup", warmup);
  app.add_option("--threads", threads);
  std::string device = "cpu";
  oasis::TrainingOptions options;
  app.add_option("--device", device)->check(CLI::IsMember({"cpu", "cuda"}));
  app.add_option("--cuda-graph", options.cuda_graph);
  app.add_flag("--recompute", options.recompute);
  CLI11_PARSE(app, argc, argv);
  at::set_num_threads(threads);
  const nlohmann::json config = {{"vocab_size", vocabulary},
                                 {"hidden_size", hidden},
                                 {"num_hidden_layers", layers},
                                 {"num_attention_heads", heads},
                                 {"intermediate_size", intermediate},
                                 {"tie_word_embeddings", true},
                                 {"oasis",
                                  {{"method", method},
                                   {"routing", routing},
                                   {"clip_gamma", -12.0 / static_cast<double>(length)}}}};
  const auto run_device = oasis::choose_device(device, "auto", "arguments");
  options.autocast_bf16 = run_device.dtype == "bfloat16";
  oasis::Decoder model(oasis::parse_checkpoint_config(config, "arguments"), at::kFloat);
  oasis::initialize(model, {}, 0);
  model = model.to(at::TensorOptions(at::kFloat).device(oasis::torch_device(run_device)));
  oasis::Trainer trainer(model, options);
  std::vector<double> seconds;
  double loss = 0;
  for (int i = 0; i < warmup + steps; ++i) {
    const auto tokens = at::randint(vocabulary, {batch, length}, at::kLong);
    const auto start = std::chrono::steady_clock::now();
    loss = trainer.step(tokens).loss;
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    if (i >= warmup) seconds.push_back(elapsed.count());
  }
  auto sorted = seconds;
  std::ranges::sort(sorted);
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const nlohmann::json report = {{"seconds", seconds},
                                 {"median_seconds", sorted[sorted.size() / 2]},
                                 {"peak_rss_bytes", usage.ru_maxrss * int64_t{1024}},
                                 {"peak_device_bytes", peak_device_bytes(device)},
                                 {"parameters", model.parameter_count()},
                                 {"loss", loss}};
  std::cout << report.dump() << "\n";
}
