// Generates a fixed number of tokens after each row of a token file, greedily or drawn, and prints
// JSON: of each round the seconds and the processor's seconds, and the decode steps. The new tokens
// [B, N] go to a safetensors file. tests/python/bench_generate.py sets it beside `transformers`.
#include <ATen/Parallel.h>
#include <ATen/ops/zeros.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <ctime>
#include <exception>
#include <iostream>
#include <nlohmann/json.hpp>

#include "baselines/checkpoint.h"
#include "models/generation/generator.h"
#include "models/generation/inference_weights.h"
#include "models/safetensors.h"
#include "suites/compute.h"
#include "suites/torch_options.h"

int main(int argc, char** argv) try {
  CLI::App app("Times generation");
  std::string checkpoint, tokens_file, out, device = "cpu", dtype = "float32";
  oasis::GenerationOptions options;
  int rounds = 1, threads = 2;
  app.add_option("--checkpoint", checkpoint)->required();
  app.add_option("--tokens", tokens_file, "safetensors with tokens [B, T]")->required();
  app.add_option("--out", out)->required();
  app.add_option("--new", options.max_new_tokens);
  app.add_option("--batch", options.batch);
  app.add_option("--temperature", options.sampling.temperature);
  app.add_option("--top-k", options.sampling.top_k);
  app.add_option("--top-p", options.sampling.top_p);
  app.add_option("--cuda-graph", options.cuda_graph);
  app.add_option("--rounds", rounds);
  app.add_option("--threads", threads);
  app.add_option("--device", device)->check(CLI::IsMember({"cpu", "cuda"}));
  app.add_option("--dtype", dtype)->check(CLI::IsMember({"float32", "bfloat16"}));
  CLI11_PARSE(app, argc, argv);
  at::set_num_threads(threads);

  const auto run_device = oasis::choose_device(device, "float32", "--device");
  const auto model = oasis::inference_weights(oasis::load_checkpoint(checkpoint, at::kFloat),
                                              dtype == "float32" ? at::kFloat : at::kBFloat16,
                                              oasis::torch_device(run_device));
  const auto tokens = oasis::read_tokens(tokens_file, 2, model.config().vocab_size).contiguous();
  std::vector<oasis::Prompt> prompts;
  for (int64_t i = 0; i < tokens.size(0); ++i) {
    const auto* row = tokens.const_data_ptr<int64_t>() + i * tokens.size(1);
    prompts.emplace_back(row, row + tokens.size(1));
  }
  auto made = at::zeros({tokens.size(0), options.max_new_tokens}, at::kLong);
  oasis::Generator generator(model, options);
  std::vector<double> seconds, processor_seconds;
  for (int round = 0; round < rounds; ++round) {
    std::vector<int64_t> count(prompts.size());
    const auto began = std::chrono::steady_clock::now();
    const auto clock = std::clock();
    generator.generate(prompts, [&](size_t i, uint32_t token) {
      made.mutable_data_ptr<int64_t>()[static_cast<int64_t>(i) * options.max_new_tokens +
                                       count[i]++] = token;
      return true;
    });
    seconds.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
    processor_seconds.push_back(static_cast<double>(std::clock() - clock) / CLOCKS_PER_SEC);
  }
  oasis::write_safetensors(out, {{"tokens", made}});
  std::cout << nlohmann::json{{"seconds", seconds},
                              {"processor_seconds", processor_seconds},
                              {"steps", generator.steps()}}
            << "\n";
  return 0;
} catch (const std::exception& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
