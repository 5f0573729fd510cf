// A suite expanded: its cells, their stages, and the key of each stage.
//
// A cell is (method, data set, model, seed). Its stages are one pretraining, one evaluation in full
// precision per evaluated data set, and one quantized evaluation (calibration included) per setting
// and evaluated data set; where the suite has GSM8K, also a fine-tuning, and in full precision and
// per setting answers of the model before it (few-shot) and after it (zero-shot).
//
// A stage's key is the SHA-256 of the canonical JSON of all that determines its figures:
//   - the effective configuration (what a method's name stands for, not the name),
//   - the hashes of the data, the vocabulary, a checkpoint continued from, and the key of the stage
//     it builds on,
//   - the device's type and the arithmetic's type, and kNumericsVersion.
// It holds nothing else: no names, labels or folders, no checkpoint or log interval.
// Thread count, processor and library versions change results within rounding, as a different
// machine does: they are not in the key but in the environment that a stage's row refers to, so
// that a sweep started on one machine is not run again on another. Bit-for-bit equality after a
// resume holds on one machine with one number of threads.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "suites/suite.h"

namespace oasis {

// Raised by every change of the code that changes figures beyond rounding.
constexpr int kNumericsVersion = 1;

// What of a tokenized split determines a figure.
struct SplitIdentity {
  std::string sha256;  // of the shard
  std::int64_t tokens = 0;
  std::int64_t bytes = 0;  // of the text, for bits per byte
  std::int64_t vocab_size = 0;
};

// A checkpoint that a model continues from.
struct CheckpointIdentity {
  std::string sha256;  // of its configuration and weights
  std::string folder;
  Json config;  // config.json in full, without the object "oasis"
};

// GSM8K's part of a suite under one tokenizer.
struct ProblemsIdentity {
  struct Questions {
    std::string sha256 = {};         // of prompts and right answers
    std::int64_t prompt_tokens = 0;  // in all
  };
  std::string tokenizer = {};  // its hash
  std::int64_t problems = 0;
  Questions few_shot = {}, zero_shot = {};  // before fine-tuning and after it
  std::string training_sha256 = {};         // of questions and answers to fine-tune on
  std::int64_t example_tokens = 0;          // of one training example, on average
};

// The splits of a suite under the tokenizer of each data set trained on.
struct SuiteData {
  struct ForTraining {
    SplitIdentity train;
    std::map<std::string, SplitIdentity> evaluated = {};  // by data set name
    ProblemsIdentity gsm8k = {};                          // where the suite has it
  };
  std::map<std::string, ForTraining> by_dataset;  // by the name of the data set trained on
  std::map<std::string, CheckpointIdentity> checkpoints = {};  // by the name of the model
};

struct RunDevice {
  std::string type = "cpu";       // cpu, cuda
  std::string dtype = "float32";  // of training's matrix products: float32, bfloat16 (autocast)
};

// The suite's training with what the method changes of it.
TrainingSpec training_of(const Suite& suite, const SuiteMethod& method);

// The data sets that a model trained on `dataset` is evaluated on.
std::vector<DatasetSpec> evaluated_datasets(const Suite& suite, const DatasetSpec& dataset);

enum class StageKind { kPretrain, kEvaluate, kQuantized, kFineTune, kGenerate };
// "pretrain", "evaluate", "quantized", "finetune", "generate"
std::string stage_kind_name(StageKind kind);

struct Stage {
  StageKind kind = StageKind::kPretrain;
  std::string key;                               // 64 hexadecimal digits
  std::string parent_key;                        // of the training it builds on, if any
  Json config;                                   // what the key is the hash of
  std::string dataset;                           // trained or evaluated on
  std::optional<QuantizationSpec> quantization;  // kQuantized; kGenerate: unset in full precision
  std::optional<std::int64_t> shots;             // kGenerate
  bool after_fine_tuning = false;                // kGenerate

  std::string description() const;  // "evaluate books W8A8", "answer gsm8k 5-shot W8A8"
  bool trains() const { return kind == StageKind::kPretrain || kind == StageKind::kFineTune; }
};

// The stage with its kind, device and parent in its configuration, and the key that follows.
Stage with_key(Stage stage, const RunDevice& device);
Json split_json(const SplitIdentity& split);
// A setting without the fields that came later and are as before: keys stay what they were.
Json key_json(const QuantizationSpec& setting);
// Without what does not change the weights that come out.
Json optimization_json(Json spec, const RunDevice& device);

struct Cell {
  std::string name;    // "oasis/books/small/0": method label, data set, model, seed
  std::string folder;  // "oasis-books-small-s0-1f2e3d4c", the digits from the pretraining's key
  SuiteMethod method;
  TrainingDatasetSpec dataset;
  ModelSpec model;
  std::int64_t seed = 0;
  std::string checkpoint;  // the folder to continue from; empty: from random weights
  Json model_config;       // config.json: Hugging Face's keys and the object "oasis"
  std::vector<Stage> stages;

  const Stage& pretrain() const { return stages.front(); }
  const Stage& stage(const std::string& key) const;  // one of these; throws Error for another
};

struct Plan {
  Suite suite;
  RunDevice device;
  std::vector<Cell> cells;
};

// Throws Error (bad input) when a block is longer than a split, or two cells have one key.
Plan make_plan(const Suite& suite, const SuiteData& data, const RunDevice& device,
               const KnownNames& known, const std::string& source);

// Which of a plan's cells to run.
struct Selection {
  std::string only = {};                 // comma-separated globs; see matches()
  std::vector<std::int64_t> seeds = {};  // empty: all
  int shard = 1;                         // the shard-th of shard_count equal parts, from 1
  int shard_count = 1;
};

// Throws Error (bad input) when nothing is left, or a seed is not the suite's.
std::vector<Cell> select_cells(const Plan& plan, const Selection& selection);

// A glob matches the whole name ("oasis/*/0") or one part of it ("oasis", "oasis*", "books").
bool matches(const Cell& cell, const std::string& glob);

// "2/4" into a selection; throws Error (bad input).
void parse_shard(const std::string& text, Selection& selection);
std::vector<std::int64_t> parse_seeds(const std::string& text);  // "0,1,4-6"

}  // namespace oasis
