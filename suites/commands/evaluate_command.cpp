#include "suites/commands/evaluate_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "baselines/checkpoint.h"
#include "datasets/loader.h"
#include "datasets/prepare.h"
#include "datasets/registry.h"
#include "models/evaluation.h"
#include "models/safetensors.h"
#include "models/site_costs.h"
#include "suites/commands/outlier_report.h"
#include "suites/compute.h"
#include "suites/quantization_flags.h"
#include "suites/torch_options.h"
#include "support/error.h"
#include "support/progress_line.h"

namespace oasis {
namespace {

using OrderedJson = nlohmann::ordered_json;

struct EvaluateArguments {
  std::filesystem::path checkpoint, tokens;
  std::string dataset, split = "valid", data_home;
  int64_t block_length = 512;
  int64_t sequences = 0;  // 0: all
  int64_t batch_size = 8;
  int64_t site_costs = 0;  // tokens; 0: not measured
  std::string dtype = "float32", device = "auto";
  QuantizationFlags quantization;
  bool json = false, statistics = false;
};

struct EvaluationInput {
  at::Tensor tokens;  // [N, T]
  TextSize text;
};

// The bytes that these tokens stand for, where the checkpoint brings the tokenizer that knows.
TextSize text_size(const at::Tensor& tokens, const std::filesystem::path& checkpoint) {
  if (!has_tokenizer(checkpoint)) return {};
  const auto tokenizer = load_tokenizer(checkpoint);
  TextSize text{.tokens = tokens.numel()};
  const auto* ids = tokens.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < tokens.numel(); ++i) {
    if (ids[i] >= tokenizer->vocab_size()) return {};  // a model may have more rows than ids
    text.bytes += static_cast<int64_t>(tokenizer->token_bytes(static_cast<uint32_t>(ids[i])));
  }
  return text;
}

EvaluationInput read_file(const EvaluateArguments& arguments, int64_t vocabulary) {
  auto tokens = read_tokens(arguments.tokens, 2, vocabulary).contiguous();
  if (tokens.numel() == 0) throw bad_input("{}: no tokens", arguments.tokens.string());
  const auto text = text_size(tokens, arguments.checkpoint);
  if (arguments.sequences > 0) {
    tokens = tokens.narrow(0, 0, std::min(arguments.sequences, tokens.size(0)));
  }
  return {tokens, text};
}

EvaluationInput read_dataset(const EvaluateArguments& arguments, int64_t vocabulary,
                             ProgressLine& progress) {
  const auto& entry = dataset_entry(arguments.dataset);
  if (!has_tokenizer(arguments.checkpoint)) {
    throw bad_input(
        "{}: no {} and no tokenizer.json, one of which --dataset needs to tokenize; "
        "give --tokens FILE instead",
        arguments.checkpoint.string(), kTokenizerFile);
  }
  const auto tokenizer = load_tokenizer(arguments.checkpoint);
  if (tokenizer->vocab_size() > vocabulary) {
    throw bad_input("{}: the tokenizer has {} ids and the model {}; is it the model's tokenizer?",
                    arguments.checkpoint.string(), tokenizer->vocab_size(), vocabulary);
  }
  std::string current;
  const auto report = [&](const Progress& p) {
    if (p.what != current) {
      progress.end();
      current = p.what;
      progress.begin(p.what, 0, static_cast<double>(p.total), "bytes");
    }
    progress.update(static_cast<double>(p.done));
  };
  const auto split = prepare_split(entry.description, arguments.split, tokenizer,
                                   resolve_folders(arguments.data_home), report);
  progress.end();
  const BlockLoader loader(split, arguments.block_length, 0, BlockLoader::Order::kSequential);
  const int64_t blocks =
      arguments.sequences > 0 ? std::min(arguments.sequences, loader.blocks()) : loader.blocks();
  const auto& info = split->info();
  return {to_tensor(loader.samples(0, blocks), blocks),
          {.tokens = static_cast<int64_t>(info.tokens),
           .bytes = static_cast<int64_t>(info.source_bytes),
           .words = static_cast<int64_t>(info.source_words)}};
}

OrderedJson to_json(const EvaluationResult& result, bool with_statistics) {
  const auto number = [](double value) {  // JSON has no NaN and no infinity
    return std::isfinite(value) ? OrderedJson(value) : OrderedJson();
  };
  auto metrics = OrderedJson::array();
  for (const auto& m : result.metrics) {
    OrderedJson entry = {{"name", m.name},
                         {"value", m.value ? number(*m.value) : OrderedJson()},
                         {"unit", m.unit},
                         {"n", m.n}};
    if (!m.value) {
      entry["note"] = m.note;
    } else if (!std::isfinite(*m.value)) {
      entry["note"] = std::isnan(*m.value) ? "not a number" : "infinite";
    }
    metrics.push_back(std::move(entry));
  }
  OrderedJson json = {{"metrics", std::move(metrics)}};
  if (!with_statistics) return json;
  auto& statistics = json["statistics"] = OrderedJson::array();
  for (const auto& s : result.statistics) {
    statistics.push_back(
        {{"place", s.place}, {"quantity", s.quantity}, {"value", number(s.value)}, {"n", s.n}});
  }
  return json;
}

void print_table(const EvaluationResult& result, bool with_statistics) {
  size_t width = 6;
  for (const auto& m : result.metrics) width = std::max(width, m.name.size());
  fmt::print("{:<{}}  {:>12}  {:<10}  {:>12}\n", "metric", width, "value", "unit", "n");
  for (const auto& m : result.metrics) {
    const auto value = m.value ? fmt::format("{:.6g}", *m.value) : "-";
    fmt::print("{:<{}}  {:>12}  {:<10}  {:>12}{}\n", m.name, width, value, m.unit, m.n,
               m.value ? "" : "  " + m.note);
  }
  if (!with_statistics) return;
  size_t place = 5, quantity = 8;
  for (const auto& s : result.statistics) {
    place = std::max(place, s.place.size());
    quantity = std::max(quantity, s.quantity.size());
  }
  fmt::print("\n{:<{}}  {:<{}}  {:>12}  {:>12}\n", "place", place, "quantity", quantity, "value",
             "n");
  for (const auto& s : result.statistics) {
    fmt::print("{:<{}}  {:<{}}  {:>12.6g}  {:>12}\n", s.place, place, s.quantity, quantity, s.value,
               s.n);
  }
}

SiteCosts site_costs(const Decoder& model, QuantizedModel& quantized, const at::Tensor& tokens,
                     const EvaluateArguments& arguments, ProgressLine& progress) {
  const auto chosen = first_tokens(
      tokens.to(model.embed_tokens().device()).split(arguments.batch_size), arguments.site_costs);
  const auto costs = measure_site_costs(model, quantized, chosen, [&](int64_t done, int64_t total) {
    if (done == 0) {
      progress.begin("quantizing one site at a time", 0, static_cast<double>(total), "sites");
    }
    progress.update(static_cast<double>(done));
    return true;
  });
  progress.update(static_cast<double>(costs.sites.size()));
  progress.end();
  return costs;
}

void run(const EvaluateArguments& arguments) {
  if (arguments.tokens.empty() == arguments.dataset.empty()) {
    throw bad_input("what to evaluate on? Give either --tokens FILE or --dataset NAME");
  }
  arguments.quantization.check();
  if (arguments.site_costs > 0 && !arguments.quantization.given()) {
    throw bad_input(
        "--site-costs is for quantization; give --weight-bits and --activation-bits too");
  }
  const auto type = parse_dtype(arguments.dtype);
  const auto device = torch_device(choose_device(arguments.device, "float32", "--device"));
  const auto vocabulary = read_checkpoint_config(arguments.checkpoint).vocab_size;
  ProgressLine progress(stderr);
  const auto input = arguments.tokens.empty() ? read_dataset(arguments, vocabulary, progress)
                                              : read_file(arguments, vocabulary);
  const auto model =
      load_checkpoint(arguments.checkpoint, type).to(at::TensorOptions(type).device(device));
  std::unique_ptr<QuantizedModel> quantized;
  if (arguments.quantization.given()) quantized = arguments.quantization.calibrated(model);

  const auto batches = input.tokens.split(arguments.batch_size);
  const auto sequences = input.tokens.size(0);
  progress.begin("evaluating", 0, static_cast<double>(sequences), "sequences");
  const auto report = [&](int64_t done, int64_t) {
    progress.update(static_cast<double>(done * arguments.batch_size));
    return true;
  };
  const auto result = evaluate(quantized ? quantized->model() : model, batches, {}, input.text,
                               quantized ? &quantized->observer() : nullptr, report);
  progress.update(static_cast<double>(sequences));
  progress.end();
  std::optional<SiteCosts> costs;
  if (arguments.site_costs > 0) {
    costs = site_costs(model, *quantized, input.tokens, arguments, progress);
  }
  const auto tokenizer =
      has_tokenizer(arguments.checkpoint) ? load_tokenizer(arguments.checkpoint) : nullptr;
  if (arguments.json) {
    auto json = to_json(result, arguments.statistics);
    if (!quantized) json["massive_activations"] = massive_json(result, tokenizer.get());
    if (costs) json["site_costs"] = site_costs_json(*costs);
    fmt::print("{}\n", json.dump(2));
  } else {
    print_table(result, arguments.statistics);
    print_massive(result, tokenizer.get());
    if (costs) print_site_costs(*costs);
  }
}

}  // namespace

void add_evaluate_command(CLI::App& app) {
  const auto arguments = std::make_shared<EvaluateArguments>();
  auto* command = app.add_subcommand(
      "evaluate", "Perplexity, outliers, sinks and depth routing of a checkpoint on tokens");
  command->add_option("checkpoint", arguments->checkpoint, "Checkpoint folder")->required();
  auto* tokens = command->add_option("--tokens", arguments->tokens,
                                     "safetensors file with int64 tokens [B,T]");
  auto* dataset = command->add_option("--dataset", arguments->dataset,
                                      "Data set by name; the checkpoint's tokenizer is used");
  tokens->excludes(dataset);
  command->add_option("--split", arguments->split, "Split of the data set")
      ->needs(dataset)
      ->capture_default_str();
  command
      ->add_option("--data-home", arguments->data_home,
                   "Folder of the data files; else OASIS_DATA_HOME, else the cache")
      ->needs(dataset);
  command->add_option("--block-length", arguments->block_length, "Tokens in a block")
      ->needs(dataset)
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 20))
      ->capture_default_str();
  command->add_option("--sequences", arguments->sequences, "The first this many; all unless given")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
  command
      ->add_option("--batch-size", arguments->batch_size,
                   "Sequences in a batch; kurtosis is of the first 101 batches")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20))
      ->capture_default_str();
  command->add_option("--dtype", arguments->dtype, "float32 or float64")->capture_default_str();
  command->add_option("--device", arguments->device, "cpu, cuda or auto")
      ->check(CLI::IsMember({"cpu", "cuda", "auto"}))
      ->capture_default_str();
  arguments->quantization.add_to(*command);
  command
      ->add_option("--site-costs", arguments->site_costs,
                   "Also the perplexity of the first this many tokens with each quantization "
                   "point and each weight quantized alone: a forward pass for each")
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 40));
  command->add_flag("--statistics", arguments->statistics,
                    "Also the figures of each site, layer, head and source");
  command->add_flag("--json", arguments->json, "Print JSON");
  command->callback([arguments] { run(*arguments); });
}

}  // namespace oasis
