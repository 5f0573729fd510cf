#include "suites/plan.h"

#include <fmt/ranges.h>
#include <fnmatch.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "suites/plan_gsm8k.h"
#include "support/error.h"
#include "support/sha256.h"
#include "support/text.h"

namespace oasis {
namespace {

const KnownMethod& declaration_of(const SuiteMethod& method, const KnownNames& known) {
  for (const auto& candidate : known.methods) {
    if (candidate.name == method.method) return candidate;
  }
  throw bad_input("unknown method '{}'", method.method);
}

Json oasis_object(const SuiteMethod& method, const Suite& suite, const KnownNames& known) {
  const KnownMethod& declared = declaration_of(method, known);
  const std::string token = method.token_normalizer.value_or(declared.token_normalizer);
  const std::string depth = method.depth_normalizer.value_or(declared.depth_normalizer);
  const SuiteCoupling coupling = method.coupling.value_or(declared.coupling);
  Json object = {{"method", method.method},
                 {"token_normalizer", token},
                 {"depth_normalizer", depth},
                 {"coupling", coupling.kind == "fixed" ? Json(coupling.beta) : Json(coupling.kind)},
                 {"gate", method.gate.value_or(declared.gate)}};
  if (token == "clipped_softmax" || depth == "clipped_softmax") {
    object["clip_zeta"] = method.clip_zeta.value_or(1.0);
    object["clip_gamma"] =
        method.clip_gamma.value_or(-12.0 / static_cast<double>(suite.training.block_length));
  }
  if (depth == "none") {
    object["routing"] = "none";
    return object;
  }
  const std::string form = method.routing.value_or(suite.routing.form);
  object["routing"] = form;
  if (form == "projected") {
    object["recency"] = method.initialization.recency;
    if (method.router_size) object["router_size"] = *method.router_size;
  }
  if (form == "block") {
    object["block_count"] =
        method.block_count ? *method.block_count : suite.routing.block_count.value();
  }
  return object;
}

Json model_config(const ModelSpec& m, const SuiteMethod& method, const Suite& suite,
                  std::int64_t vocab_size, const KnownNames& known) {
  const bool qwen3 = m.model_type == "qwen3";
  const std::int64_t heads = m.num_attention_heads.value();
  return {{"architectures", Json::array({qwen3 ? "Qwen3ForCausalLM" : "LlamaForCausalLM"})},
          {"model_type", m.model_type},
          {"vocab_size", vocab_size},
          {"hidden_size", m.hidden_size.value()},
          {"num_hidden_layers", m.num_hidden_layers.value()},
          {"num_attention_heads", heads},
          {"num_key_value_heads", m.num_key_value_heads.value_or(heads)},
          {"head_dim", m.head_dim.value_or(*m.hidden_size / heads)},
          {"intermediate_size", m.intermediate_size.value()},
          {"hidden_act", "silu"},
          {"attention_bias", false},
          {"rms_norm_eps", m.rms_norm_eps},
          {"rope_theta", m.rope_theta},
          {"max_position_embeddings", suite.training.block_length},
          {"tie_word_embeddings", m.tie_word_embeddings},
          {"initializer_range", method.initialization.initializer_range},
          {"oasis", oasis_object(method, suite, known)}};
}

Json continued_config(const CheckpointIdentity& checkpoint, const SuiteMethod& method,
                      const Suite& suite, std::int64_t vocab_size, const KnownNames& known) {
  Json config = checkpoint.config;
  if (config.at("vocab_size") < vocab_size) {
    throw bad_input("{}: has {} ids, the tokenizer of the data {}; is it this checkpoint's?",
                    checkpoint.folder, config.at("vocab_size").dump(), vocab_size);
  }
  config["oasis"] = oasis_object(method, suite, known);
  return config;
}

// What of the initialization a model does not have does not change its figures.
Json effective_initialization(const InitializationSpec& initialization, const Json& oasis) {
  Json json = to_json_object(initialization);
  const std::string form = oasis["routing"];
  if (form != "projected") {
    json.erase("recency");
    json.erase("recency_bias");
  }
  if (form == "none") json.erase("router_query_init");
  if (oasis["coupling"] != "learned") json.erase("beta_raw");
  if (oasis["gate"] == false) json.erase("gate_init");
  return json;
}

Stage pretrain_stage(const Cell& cell, const Suite& suite, const SuiteData& all_data,
                     const RunDevice& device) {
  const SuiteData::ForTraining& data = all_data.by_dataset.at(cell.dataset.name);
  Json training = optimization_json(to_json_object(training_of(suite, cell.method)), device);
  training.erase("dtype");  // it is the device's
  Json model = cell.model_config;
  model["oasis"].erase("method");
  Stage stage;
  stage.kind = StageKind::kPretrain;
  stage.dataset = cell.dataset.name;
  stage.config = {{"model", model},
                  {"initialization", effective_initialization(cell.method.initialization,
                                                              cell.model_config["oasis"])},
                  {"training", training},
                  {"data", split_json(data.train)},
                  {"seed", cell.seed}};
  if (!cell.checkpoint.empty()) {
    stage.config["checkpoint"] = all_data.checkpoints.at(cell.model.name).sha256;
    stage.config["initialization"].erase("initializer_range");  // of what the checkpoint holds
  }
  return with_key(stage, device);
}

Json evaluation_json(const Suite& suite, const SplitIdentity& split) {
  Json json = to_json_object(suite.evaluation);
  json.erase("datasets");
  json.erase("split");  // the split's hash is in `data`
  json["block_length"] = suite.evaluation.block_length.value_or(suite.training.block_length);
  json["data"] = split_json(split);
  return json;
}

void add_evaluations(Cell& cell, const Suite& suite, const SuiteData::ForTraining& data,
                     const RunDevice& device) {
  const std::string parent = cell.pretrain().key;
  const auto datasets = evaluated_datasets(suite, cell.dataset);
  for (const auto& dataset : datasets) {
    Stage stage;
    stage.kind = StageKind::kEvaluate;
    stage.parent_key = parent;
    stage.dataset = dataset.name;
    stage.config = {{"evaluation", evaluation_json(suite, data.evaluated.at(dataset.name))}};
    cell.stages.push_back(with_key(stage, device));
  }
  for (const auto& setting : suite.quantization) {
    for (const auto& dataset : datasets) {
      Stage stage;
      stage.kind = StageKind::kQuantized;
      stage.parent_key = parent;
      stage.dataset = dataset.name;
      stage.quantization = setting;
      stage.config = {{"evaluation", evaluation_json(suite, data.evaluated.at(dataset.name))},
                      {"quantization", key_json(setting)},
                      {"calibration_data", split_json(data.train)}};
      stage.config["evaluation"].erase("seed");  // of full precision
      cell.stages.push_back(with_key(stage, device));
    }
  }
}

void check_lengths(const Suite& suite, const DatasetSpec& dataset,
                   const SuiteData::ForTraining& data, const std::string& source) {
  const auto check = [&](const char* field, std::int64_t length, const std::string& split_name,
                         const std::string& dataset_name, const SplitIdentity& split) {
    if (split.tokens < length) {
      throw bad_input(
          "{}: {}: a block of {} tokens is longer than the data: split '{}' of '{}' has "
          "{} tokens; shorten the block or use more data",
          source, field, length, split_name, dataset_name, split.tokens);
    }
  };
  check("training.block_length", suite.training.block_length, "train", dataset.name, data.train);
  const std::int64_t length = suite.evaluation.block_length.value_or(suite.training.block_length);
  for (const auto& evaluated : evaluated_datasets(suite, dataset)) {
    check("evaluation.block_length", length, suite.evaluation.split, evaluated.name,
          data.evaluated.at(evaluated.name));
  }
}

std::vector<std::string> split_at(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::size_t start = 0;
  while (true) {
    const std::size_t end = text.find(separator, start);
    parts.push_back(text.substr(start, end - start));
    if (end == std::string::npos) return parts;
    start = end + 1;
  }
}

std::int64_t parse_number(const std::string& text, const char* option, const std::string& whole) {
  std::int64_t value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) {
    throw bad_input("{} {}: '{}' is not a number", option, whole, text);
  }
  return value;
}

}  // namespace

TrainingSpec training_of(const Suite& suite, const SuiteMethod& method) {
  TrainingSpec training = suite.training;
  training.steps = method.steps.value_or(training.steps);
  training.warmup_steps = std::min(training.warmup_steps, training.steps);
  return training;
}

std::vector<DatasetSpec> evaluated_datasets(const Suite& suite, const DatasetSpec& dataset) {
  return suite.evaluation.datasets.empty() ? std::vector<DatasetSpec>{dataset}
                                           : suite.evaluation.datasets;
}

Json key_json(const QuantizationSpec& setting) {
  auto json = to_json_object(setting);
  const auto published = to_json_object(QuantizationSpec{});
  for (const char* later :
       {"site_cost_tokens", "weight_range", "weight_grain", "activation_range"}) {
    if (json[later] == published[later]) json.erase(later);
  }
  return json;
}

Json split_json(const SplitIdentity& split) {
  return {{"sha256", split.sha256}, {"bytes", split.bytes}, {"vocab_size", split.vocab_size}};
}

Json optimization_json(Json spec, const RunDevice& device) {
  for (const char* irrelevant :
       {"activation_checkpointing", "checkpoint_every", "cuda_graph", "log_every"}) {
    spec.erase(irrelevant);
  }
  if (spec["deterministic"] == false || device.type == "cpu") spec.erase("deterministic");
  if (spec["micro_batch"].is_null()) spec["micro_batch"] = spec["sequences_per_step"];
  return spec;
}

Stage with_key(Stage stage, const RunDevice& device) {
  stage.config["stage"] = stage_kind_name(stage.kind);
  stage.config["numerics_version"] = kNumericsVersion;
  stage.config["device"] = {{"type", device.type}, {"dtype", device.dtype}};
  if (!stage.parent_key.empty()) stage.config["parent"] = stage.parent_key;
  stage.key = sha256_hex(stage.config.dump());
  return stage;
}

const Stage& Cell::stage(const std::string& key) const {
  for (const Stage& candidate : stages) {
    if (candidate.key == key) return candidate;
  }
  throw failed("{}: has no stage {}", name, key);
}

std::string stage_kind_name(StageKind kind) {
  switch (kind) {
    case StageKind::kPretrain:
      return "pretrain";
    case StageKind::kEvaluate:
      return "evaluate";
    case StageKind::kQuantized:
      return "quantized";
    case StageKind::kFineTune:
      return "finetune";
    case StageKind::kGenerate:
      return "generate";
  }
  throw failed("stage kind {} is not known", static_cast<int>(kind));
}

std::string Stage::description() const {
  switch (kind) {
    case StageKind::kPretrain:
      return "pretrain " + dataset;
    case StageKind::kEvaluate:
      return "evaluate " + dataset;
    case StageKind::kQuantized:
      return "evaluate " + dataset + " " + setting_name(quantization.value());
    case StageKind::kFineTune:
      return "finetune " + dataset;
    case StageKind::kGenerate:
      return fmt::format("answer {} {}-shot{}{}", dataset, shots.value(),
                         after_fine_tuning ? " after fine-tuning" : "",
                         quantization ? " " + setting_name(*quantization) : "");
  }
  return "";
}

Plan make_plan(const Suite& suite, const SuiteData& data, const RunDevice& device,
               const KnownNames& known, const std::string& source) {
  Plan plan{suite, device, {}};
  for (const DatasetSpec& dataset : suite.datasets) {
    check_lengths(suite, dataset, data.by_dataset.at(dataset.name), source);
  }
  std::map<std::string, std::string> names_by_key;
  for (const TrainingDatasetSpec& dataset : suite.datasets) {
    const SuiteData::ForTraining& tokens = data.by_dataset.at(dataset.name);
    for (const ModelSpec& model : suite.models) {
      for (const std::int64_t seed : suite.seeds) {
        for (const SuiteMethod& method : suite.methods) {
          Cell cell;
          cell.name = fmt::format("{}/{}/{}/{}", method.label, dataset.name, model.name, seed);
          cell.method = method;
          cell.dataset = dataset;
          cell.model = model;
          cell.seed = seed;
          if (model.checkpoint) {
            const CheckpointIdentity& checkpoint = data.checkpoints.at(model.name);
            cell.checkpoint = checkpoint.folder;
            cell.model_config =
                continued_config(checkpoint, method, suite, tokens.train.vocab_size, known);
          } else {
            cell.model_config = model_config(model, method, suite, tokens.train.vocab_size, known);
          }
          cell.stages.push_back(pretrain_stage(cell, suite, data, device));
          const std::string& key = cell.pretrain().key;
          cell.folder = fmt::format("{}-{}-{}-s{}-{}", method.label, dataset.name, model.name, seed,
                                    key.substr(0, 8));
          const auto [first, inserted] = names_by_key.emplace(key, cell.name);
          if (!inserted) {
            throw bad_input("{}: methods: cells '{}' and '{}' are the same computation; drop one",
                            source, first->second, cell.name);
          }
          add_evaluations(cell, suite, tokens, device);
          if (suite.gsm8k) add_gsm8k(cell, suite, tokens, device, source);
          plan.cells.push_back(std::move(cell));
        }
      }
    }
  }
  return plan;
}

bool matches(const Cell& cell, const std::string& glob) {
  const auto match = [&](const std::string& text) {
    return ::fnmatch(glob.c_str(), text.c_str(), 0) == 0;
  };
  return match(cell.name) || match(cell.method.label) || match(cell.dataset.name) ||
         match(cell.model.name);
}

std::vector<Cell> select_cells(const Plan& plan, const Selection& selection) {
  for (const std::int64_t seed : selection.seeds) {
    const auto& seeds = plan.suite.seeds;
    if (std::find(seeds.begin(), seeds.end(), seed) == seeds.end()) {
      throw bad_input("--seeds: {} is not a seed of suite '{}' ({})", seed, plan.suite.name,
                      fmt::join(seeds, ", "));
    }
  }
  std::vector<Cell> cells;
  for (const Cell& cell : plan.cells) {
    const auto& seeds = selection.seeds;
    if (!seeds.empty() && std::find(seeds.begin(), seeds.end(), cell.seed) == seeds.end()) continue;
    const auto globs = split_at(selection.only, ',');
    if (!selection.only.empty() &&
        std::none_of(globs.begin(), globs.end(), [&](const auto& g) { return matches(cell, g); })) {
      continue;
    }
    cells.push_back(cell);
  }
  if (cells.empty()) {
    std::vector<std::string> names;
    for (const Cell& cell : plan.cells) names.push_back(cell.name);
    throw bad_input("--only '{}' matches no cell of suite '{}'{}", selection.only, plan.suite.name,
                    suggestion(selection.only, names));
  }
  std::vector<Cell> part;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const auto count = static_cast<std::size_t>(selection.shard_count);
    if (i % count == static_cast<std::size_t>(selection.shard - 1)) part.push_back(cells[i]);
  }
  return part;
}

void parse_shard(const std::string& text, Selection& selection) {
  const auto parts = split_at(text, '/');
  if (parts.size() != 2) throw bad_input("--shard {}: must be i/n, for example 1/4", text);
  const std::int64_t shard = parse_number(parts[0], "--shard", text);
  const std::int64_t count = parse_number(parts[1], "--shard", text);
  if (count < 1 || count > 1'000'000 || shard < 1 || shard > count) {
    throw bad_input("--shard {}: i must be from 1 to n", text);
  }
  selection.shard = static_cast<int>(shard);
  selection.shard_count = static_cast<int>(count);
}

std::vector<std::int64_t> parse_seeds(const std::string& text) {
  std::vector<std::int64_t> seeds;
  for (const auto& part : split_at(text, ',')) {
    const auto ends = split_at(part, '-');
    const std::int64_t first = parse_number(ends[0], "--seeds", text);
    const std::int64_t last = ends.size() == 2 ? parse_number(ends[1], "--seeds", text) : first;
    if (ends.size() > 2 || last < first || last - first > 10'000) {
      throw bad_input("--seeds {}: '{}' is not a range", text, part);
    }
    for (std::int64_t seed = first; seed <= last; ++seed) seeds.push_back(seed);
  }
  return seeds;
}

}  // namespace oasis
