// A suite: what to train, quantize and evaluate, read from a JSON file.
//
// Plain structs whose defaults are the published protocol. The one table of their fields is in
// suite_fields.h; parsing, validation, defaults, the JSON Schema and the reference table of
// docs/suite-fields.md all come from it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace oasis {

using Json = nlohmann::json;

struct TokenizerSpec {
  std::string type = "byte";
  std::optional<std::int64_t> vocab_size;  // sentencepiece only
  std::int64_t sample_bytes = 10'000'000;  // sentencepiece only
  std::optional<std::string> path;         // hugging_face only
};

struct SplitSizes {
  std::optional<std::int64_t> train, valid, test;
};

struct SplitFiles {
  std::vector<std::string> train, valid, test;
  bool empty() const { return train.empty() && valid.empty() && test.empty(); }
};

struct DatasetSpec {
  std::string name;      // of the registry, or of one's own when `files` are given
  SplitFiles files;      // instead of a data set of the registry
  SplitSizes max_bytes;  // of text; unset: all
  SplitSizes count;      // generated data sets: tokens or problems
  std::optional<std::int64_t> seed, sequence_length;  // generated data sets
};

struct TrainingDatasetSpec : DatasetSpec {
  TokenizerSpec tokenizer;
};

struct ModelSpec {
  std::string name = "model";
  std::optional<std::string> checkpoint;  // to continue from, instead of all that follows
  std::string model_type = "llama";
  std::optional<std::int64_t> hidden_size;          // set without a checkpoint
  std::optional<std::int64_t> num_hidden_layers;    // set without a checkpoint
  std::optional<std::int64_t> num_attention_heads;  // set without a checkpoint
  std::optional<std::int64_t> num_key_value_heads;
  std::optional<std::int64_t> head_dim;
  std::optional<std::int64_t> intermediate_size;  // set without a checkpoint
  double rms_norm_eps = 1e-5;
  double rope_theta = 10000;
  bool tie_word_embeddings = true;
};

// "none", "learned", or a fixed β.
struct SuiteCoupling {
  std::string kind = "none";  // none, learned, fixed
  double beta = 0;
  bool operator==(const SuiteCoupling&) const = default;
};

struct RoutingSpec {
  std::string form = "pseudo_query";
  std::optional<std::int64_t> block_count;
};

struct InitializationSpec {
  double initializer_range = 0.02;
  double recency_bias = 0;
  std::string recency = "normalized";
  std::string router_query_init = "normal";
  double beta_raw = -5;
  double gate_init = 0.25;
};

// A method by name, and what this suite changes of its declaration (the keys of the object "oasis"
// in a checkpoint's config.json).
struct SuiteMethod {
  std::string method;
  std::string label;  // in tables and folder names; the method's name unless given
  std::optional<std::string> routing;
  std::optional<std::string> token_normalizer;
  std::optional<std::string> depth_normalizer;
  std::optional<SuiteCoupling> coupling;
  std::optional<bool> gate;
  std::optional<std::int64_t> block_count;
  std::optional<std::int64_t> router_size;
  std::optional<double> clip_zeta;
  std::optional<double> clip_gamma;
  std::optional<std::int64_t> steps;
  InitializationSpec initialization;  // the suite's, with what this method changes of it
};

// Steps of AdamW on batches of sequences: what pretraining and fine-tuning share.
struct OptimizationSpec {
  std::int64_t steps = 100'000;
  std::int64_t sequences_per_step = 192;
  std::optional<std::int64_t> micro_batch;
  bool activation_checkpointing = false;
  bool cuda_graph = true;
  bool deterministic = false;
  double learning_rate = 4e-4;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
  double weight_decay = 0.1;
  std::int64_t warmup_steps = 2000;
  std::optional<double> gradient_clip = 1.0;
  std::optional<double> router_clip;
  std::int64_t log_every = 10;
  std::int64_t checkpoint_every = 1000;
};

struct TrainingSpec : OptimizationSpec {
  std::int64_t block_length = 512;
  std::string dtype = "auto";
};

// Three epochs of GSM8K's 7,473 problems; not published, ours.
struct FineTuningSpec : OptimizationSpec {
  FineTuningSpec() {
    steps = 700;
    sequences_per_step = 32;
    learning_rate = 2e-5;
    warmup_steps = 50;
    checkpoint_every = 100;
  }
  std::optional<std::int64_t> max_length;  // unset: the training block length
};

struct Gsm8kSpec {
  Gsm8kSpec() { dataset.name = "gsm8k"; }
  DatasetSpec dataset;
  std::string split = "test";
  std::optional<std::int64_t> problems;   // unset: all of the split
  std::optional<std::int64_t> shots = 5;  // of a model that is not fine-tuned; unset: not asked
  std::int64_t shot_seed = 1234;
  std::int64_t max_new_tokens = 256;
  std::optional<std::int64_t> batch_size;  // unset: 8 on the CPU, 256 on a GPU
  std::optional<FineTuningSpec> fine_tuning;
};

struct EvaluationSpec {
  std::vector<DatasetSpec> datasets;  // empty: the one trained on
  std::string split = "valid";
  std::optional<std::int64_t> block_length;  // unset: the training block length
  std::optional<std::int64_t> sequences;     // unset: the whole split
  std::int64_t batch_size = 8;
  std::int64_t seed = 5678;
};

struct QuantizationSpec {
  std::int64_t weight_bits = 8;
  std::int64_t activation_bits = 8;
  std::string points = "published";
  std::string weight_range = "min_max";
  std::string weight_grain = "tensor";
  std::string activation_range = "percentile";
  std::int64_t calibration_batches = 4;
  std::int64_t calibration_batch_size = 8;
  double momentum = 0.9;
  double percentile = 99.999;
  std::optional<std::int64_t> site_cost_tokens;
  std::int64_t seed = 6789;
};

struct Suite {
  std::string name;
  std::string description;
  std::vector<TrainingDatasetSpec> datasets;
  std::vector<ModelSpec> models;
  InitializationSpec initialization;
  std::vector<SuiteMethod> methods;
  RoutingSpec routing;
  std::vector<std::int64_t> seeds = {0};
  TrainingSpec training;
  EvaluationSpec evaluation;
  std::vector<QuantizationSpec> quantization;
  std::optional<Gsm8kSpec> gsm8k;
};

// What a suite may name, and what a method's name stands for. Methods come from
// baselines/registry.h, data sets from datasets/.
struct KnownMethod {
  std::string name;
  std::string token_normalizer;
  std::string depth_normalizer;  // "none": the plain residual sum, which takes no routing form
  SuiteCoupling coupling;
  bool gate = false;
};
struct KnownNames {
  std::vector<KnownMethod> methods;
  std::vector<std::string> datasets;
};

// Reads and checks a suite. `source` names the file in messages:
//   "suites/x.json: training.learning_rat: unknown key (did you mean 'learning_rate'?)".
// Throws Error (bad input) for a syntax error (line and column), a repeated or unknown key, a wrong
// type, a value out of range, an unknown method or data set, and contradictions between fields.
Suite parse_suite(const std::string& text, const std::string& source, const KnownNames& known);

// The complete suite, every default written out; parse_suite of its dump gives the same suite.
Json suite_to_json(const Suite& suite);
Json to_json_object(const DatasetSpec& dataset);
Json to_json_object(const TokenizerSpec& tokenizer);
Json to_json_object(const ModelSpec& model);
Json to_json_object(const SuiteMethod& method);
Json to_json_object(const InitializationSpec& initialization);
Json to_json_object(const TrainingSpec& training);
Json to_json_object(const EvaluationSpec& evaluation);
Json to_json_object(const QuantizationSpec& quantization);
Json to_json_object(const FineTuningSpec& fine_tuning);

// JSON Schema (draft 2020-12) of a suite file, and the same as a Markdown reference.
Json suite_schema();
std::string suite_reference();

struct SuiteFile {
  std::string source;  // the path, or "embedded suite 'smoke'"
  std::string text;
};

// A path to a JSON file, or the name of a suite embedded in the binary. Throws Error (bad input)
// when it is neither, with the nearest embedded name.
SuiteFile load_suite_file(const std::string& path_or_name);

// "W8A8", and "W8A8 all_inputs" for the other set of points.
std::string setting_name(const QuantizationSpec& setting);
// "weights mse per row", "activations per token": how a quantizer differs from the published one.
std::vector<std::string> quantizer_differences(const std::string& weight_range,
                                               const std::string& weight_grain,
                                               const std::string& activation_range);

}  // namespace oasis
