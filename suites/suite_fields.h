// The table of a suite's fields: name, type, range, meaning. The default is the struct's.
//
// `fields(visitor, struct)` calls the visitor once per field. The visitors are in
// suite_parse.cpp (reads JSON), suite_schema.cpp (writes JSON, the schema, the reference).
#pragma once

#include <initializer_list>
#include <limits>
#include <string>
#include <vector>

#include "suites/suite.h"

namespace oasis::suite_fields {

enum class Presence { kOptional, kRequired };
constexpr auto kRequired = Presence::kRequired;

struct Label {
  const char* name;
  const char* meaning;
  Presence presence = Presence::kOptional;
};

struct IntegerRange {
  std::int64_t least;
  std::int64_t most;
};

struct NumberRange {
  double least;
  double most;
  bool least_excluded = false;
};

using Choices = std::vector<std::string>;

inline const Choices kRoutingForms = {"projected", "pseudo_query", "block"};
inline const Choices kTokenNormalizers = {"softmax", "softmax1", "clipped_softmax", "sparsemax",
                                          "entmax15"};
inline const Choices kDepthNormalizers = {"softmax",   "softmax1", "clipped_softmax",
                                          "sparsemax", "entmax15", "none"};
constexpr std::int64_t kMaxInteger = std::int64_t{1} << 53;  // what a JSON number holds exactly
constexpr IntegerRange kPositive = {1, kMaxInteger};
constexpr IntegerRange kSize = {1, 1 << 20};
constexpr NumberRange kAnyNumber = {-1e9, 1e9};

template <typename Visitor>
void fields(Visitor& v, TokenizerSpec& s) {
  v.choice({"type",
            "byte: the 256 bytes and an end-of-text token; sentencepiece: BPE with byte "
            "fallback, trained on the training split at first use and cached; hugging_face: a "
            "tokenizer.json of byte-level BPE. Data sets of token ids ignore it."},
           s.type, {"byte", "sentencepiece", "hugging_face"});
  v.optional_integer({"vocab_size", "Pieces of a sentencepiece tokenizer; required there."},
                     s.vocab_size, {300, 65'536});
  v.integer({"sample_bytes", "Text that a sentencepiece tokenizer is trained on."}, s.sample_bytes,
            {1000, kMaxInteger});
  v.optional_text({"path",
                   "The tokenizer.json of a hugging_face tokenizer, or a folder with one, absolute "
                   "or relative to the data folder, else to the default one; required there."},
                  s.path);
}

template <typename Visitor>
void fields(Visitor& v, SplitSizes& s) {
  v.optional_integer({"train", "Of the training split; null: all."}, s.train, kPositive);
  v.optional_integer({"valid", "Of the validation split; null: all."}, s.valid, kPositive);
  v.optional_integer({"test", "Of the test split; null: all."}, s.test, kPositive);
}

template <typename Visitor>
void fields(Visitor& v, SplitFiles& s) {
  v.texts({"train", "Files of the training split."}, s.train);
  v.texts({"valid", "Files of the validation split."}, s.valid);
  v.texts({"test", "Files of the test split."}, s.test);
}

template <typename Visitor>
void fields(Visitor& v, DatasetSpec& s) {
  v.text({"name", "A data set of `oasis data list`; with `files`, a name of one's own.", kRequired},
         s.name);
  v.object({"files",
            "Files (.txt, .jsonl, .jsonl.zst) of a data set outside the registry; paths "
            "are absolute or relative to the data folder."},
           s.files);
  v.object({"max_bytes", "Take whole documents from the start up to this many bytes of text."},
           s.max_bytes);
  v.object({"count", "Tokens (bigram_backcopy) or problems (word_problems) to generate."}, s.count);
  v.optional_integer({"seed", "Seed of a generated data set; null: its default."}, s.seed,
                     {0, kMaxInteger});
  v.optional_integer({"sequence_length",
                      "bigram_backcopy: tokens in a sequence; null: its "
                      "default."},
                     s.sequence_length, {4, 1 << 20});
}

template <typename Visitor>
void fields(Visitor& v, TrainingDatasetSpec& s) {
  fields(v, static_cast<DatasetSpec&>(s));
  v.object({"tokenizer", "How text becomes tokens."}, s.tokenizer);
}

template <typename Visitor>
void fields(Visitor& v, ModelSpec& s) {
  v.text({"name", "In tables and folder names."}, s.name);
  v.optional_text({"checkpoint",
                   "A Hugging Face folder to continue from, absolute or relative to the data "
                   "folder, else to the default one, instead of random weights: attention and MLP "
                   "weights are kept, routers "
                   "and gates start as `initialization` says. Only `name` may stand beside it."},
                  s.checkpoint);
  v.choice({"model_type", "Hugging Face's name; qwen3 normalises queries and keys."}, s.model_type,
           {"llama", "qwen3"});
  v.optional_integer({"hidden_size",
                      "D, the width of the residual stream; required without a checkpoint, as the "
                      "numbers of layers and heads and intermediate_size are."},
                     s.hidden_size, kSize);
  v.optional_integer({"num_hidden_layers", "L."}, s.num_hidden_layers, {1, 1024});
  v.optional_integer({"num_attention_heads", "H, query heads."}, s.num_attention_heads, {1, 4096});
  v.optional_integer({"num_key_value_heads", "Heads of keys and values; null: as many as H."},
                     s.num_key_value_heads, {1, 4096});
  v.optional_integer({"head_dim", "d, size of a head; null: hidden_size / num_attention_heads."},
                     s.head_dim, {2, 4096});
  v.optional_integer({"intermediate_size", "Width of the gated MLP."}, s.intermediate_size, kSize);
  v.number({"rms_norm_eps", "Added to the mean square in RMSNorm."}, s.rms_norm_eps, {0, 1, true});
  v.number({"rope_theta", "Base of the rotary position embedding."}, s.rope_theta, {1, 1e9});
  v.boolean({"tie_word_embeddings", "The LM head shares the embedding's weight."},
            s.tie_word_embeddings);
}

template <typename Visitor>
void fields(Visitor& v, RoutingSpec& s) {
  v.choice({"form", "Form of depth routing of every routed method."}, s.form, kRoutingForms);
  v.optional_integer({"block_count",
                      "Runs of sublayer outputs in the block form; must divide "
                      "twice the number of layers."},
                     s.block_count, {1, 2048});
}

template <typename Visitor>
void fields(Visitor& v, InitializationSpec& s) {
  v.number({"initializer_range", "Standard deviation of the normal initial weights."},
           s.initializer_range, {0, 1, true});
  v.number({"recency_bias",
            "Initial b of the projected routers (published: 0 for Llama and Qwen, "
            "8 for Phi-4)."},
           s.recency_bias, kAnyNumber);
  v.choice({"recency", "normalized: b·i/n as published; absolute: b·(i − n + 1)."}, s.recency,
           {"normalized", "absolute"});
  v.choice({"router_query_init", "Router queries start normal or at zero."}, s.router_query_init,
           {"normal", "zero"});
  v.number({"beta_raw", "Initial β_raw of a learned coupling, β = min(softplus(β_raw), 10)."},
           s.beta_raw, {-100, 100});
  v.number({"gate_init", "Initial value of the attention gate, σ(bias)."}, s.gate_init,
           {1e-6, 1 - 1e-6});
}

template <typename Visitor>
void fields(Visitor& v, SuiteMethod& s) {
  v.text({"method", "A method or ablation of baselines/.", kRequired}, s.method);
  v.text({"label", "In tables and folder names; empty: the method's name."}, s.label);
  v.optional_choice({"routing", "Instead of the suite's routing.form."}, s.routing, kRoutingForms);
  v.optional_choice({"token_normalizer", "Instead of the method's."}, s.token_normalizer,
                    kTokenNormalizers);
  v.optional_choice({"depth_normalizer", "Instead of the method's."}, s.depth_normalizer,
                    kDepthNormalizers);
  v.coupling({"coupling", "Instead of the method's: none, learned, or a number, β fixed."},
             s.coupling);
  v.optional_boolean({"gate", "Instead of the method's: gate each head's output."}, s.gate);
  v.optional_integer({"block_count", "Instead of the suite's routing.block_count."}, s.block_count,
                     {1, 2048});
  v.optional_integer({"router_size", "A, size of a projected router; null: max(D/4, 64)."},
                     s.router_size, kSize);
  v.optional_number({"clip_zeta", "ζ of clipped softmax; null: the method's."}, s.clip_zeta,
                    {0, 100, true});
  v.optional_number(
      {"clip_gamma", "γ of clipped softmax; null: −12 over the training block length."},
      s.clip_gamma, {-100, 0});
  v.optional_integer({"steps",
                      "Instead of training.steps; 0 leaves a checkpoint as it is (warm-up is at "
                      "most as long)."},
                     s.steps, {0, 100'000'000});
  v.object({"initialization", "What this method changes of the suite's initialization."},
           s.initialization);
}

// Of pretraining and fine-tuning.
template <typename Visitor>
void fields(Visitor& v, OptimizationSpec& s) {
  v.integer({"steps", "Optimizer steps."}, s.steps, {1, 100'000'000});
  v.integer({"sequences_per_step", "Sequences in an optimizer step."}, s.sequences_per_step,
            {1, 1 << 20});
  v.optional_integer({"micro_batch",
                      "Sequences in a forward and backward pass, gradients "
                      "accumulate over them; must divide sequences_per_step; null: "
                      "all at once."},
                     s.micro_batch, {1, 1 << 20});
  v.boolean({"activation_checkpointing",
             "Compute attention and MLP again in the backward pass instead of keeping their "
             "activations: less memory, about a third more time."},
            s.activation_checkpointing);
  v.boolean({"cuda_graph", "On a GPU, record a training step once and replay it."}, s.cuda_graph);
  v.boolean({"deterministic",
             "On a GPU, only kernels that add up in one order: two runs of a seed are then equal "
             "bit for bit, as they are on a CPU anyway. Softmax attention takes longer."},
            s.deterministic);
  v.number({"learning_rate",
            "Largest learning rate of AdamW, at the end of the warm-up; "
            "from there linear to zero at the last step."},
           s.learning_rate, {0, 10, true});
  v.number({"beta1", "AdamW's first decay."}, s.beta1, {0, 0.999999});
  v.number({"beta2", "AdamW's second decay."}, s.beta2, {0, 0.999999});
  v.number({"epsilon", "AdamW's ε."}, s.epsilon, {0, 1, true});
  v.number({"weight_decay", "On everything but biases, norm gains included."}, s.weight_decay,
           {0, 10});
  v.integer({"warmup_steps", "Steps of linear warm-up; at most `steps`."}, s.warmup_steps,
            {0, 100'000'000});
  v.optional_number({"gradient_clip", "Largest norm of the gradient; null: not clipped."},
                    s.gradient_clip, {0, 1e9, true});
  v.optional_number({"router_clip",
                     "Clip the routers' gradient by itself to this norm, the rest "
                     "by gradient_clip; null: one clip for all."},
                    s.router_clip, {0, 1e9, true});
  v.integer({"log_every", "Steps between two points of a training curve."}, s.log_every, kPositive);
  v.integer({"checkpoint_every", "Steps between two checkpoints."}, s.checkpoint_every, kPositive);
}

template <typename Visitor>
void fields(Visitor& v, TrainingSpec& s) {
  fields(v, static_cast<OptimizationSpec&>(s));
  v.integer({"block_length", "T, tokens in a training sequence."}, s.block_length, {2, 1 << 20});
  v.choice(
      {"dtype", "auto: bfloat16 autocast on CUDA, float32 on the CPU; fine-tuning has the same."},
      s.dtype, {"auto", "float32", "bfloat16"});
}

template <typename Visitor>
void fields(Visitor& v, FineTuningSpec& s) {
  fields(v, static_cast<OptimizationSpec&>(s));
  v.optional_integer({"max_length",
                      "Tokens in an example; of a longer one the question is cut on the left; "
                      "null: training.block_length."},
                     s.max_length, {2, 1 << 20});
}

template <typename Visitor>
void fields(Visitor& v, Gsm8kSpec& s) {
  v.named_object({"dataset",
                  "Problems in GSM8K's format: gsm8k, word_problems, or files of one's own with a "
                  "question and an answer in each line."},
                 s.dataset, "name");
  v.choice({"split", "Split whose problems are asked."}, s.split, {"valid", "test"});
  v.optional_integer({"problems", "Ask the first this many problems; null: all of the split."},
                     s.problems, kPositive);
  v.optional_integer({"shots",
                      "Solved examples before each question that the model is asked as pretraining "
                      "left it; null: it is asked after fine-tuning only (without examples)."},
                     s.shots, {0, 1000});
  v.integer({"shot_seed", "Random seed of the draw of examples."}, s.shot_seed, {0, kMaxInteger});
  v.integer({"max_new_tokens", "An answer ends here at the latest."}, s.max_new_tokens,
            {1, 1 << 20});
  v.optional_integer({"batch_size",
                      "Answers made at a time; texts depend on it within rounding only; null: 8 on "
                      "the CPU, 256 on a GPU."},
                     s.batch_size, {1, 65'535});
  v.optional_object({"fine_tuning",
                     "Fine-tuning on the training split, with the loss of the answers alone; null: "
                     "none."},
                    s.fine_tuning);
}

template <typename Visitor>
void fields(Visitor& v, EvaluationSpec& s) {
  v.named_objects({"datasets",
                   "Data sets to evaluate on, under the tokenizer trained with; empty: "
                   "the one trained on."},
                  s.datasets, "name");
  v.choice({"split", "Split to evaluate on."}, s.split, {"valid", "test"});
  v.optional_integer({"block_length", "Tokens in a block; null: as in training."}, s.block_length,
                     {2, 1 << 20});
  v.optional_integer({"sequences", "Blocks to evaluate; null: the whole split."}, s.sequences,
                     kPositive);
  v.integer({"batch_size", "Blocks in a forward pass."}, s.batch_size, {1, 4096});
  v.integer({"seed", "Random seed of full-precision evaluation."}, s.seed, {0, kMaxInteger});
}

template <typename Visitor>
void fields(Visitor& v, QuantizationSpec& s) {
  v.integer({"weight_bits", "Bits of a weight.", kRequired}, s.weight_bits, {2, 16});
  v.integer({"activation_bits", "Bits of an activation.", kRequired}, s.activation_bits, {2, 16});
  v.choice({"points", "Set of quantization points; PROTOCOLS.md names them."}, s.points,
           {"published", "all_inputs"});
  v.choice({"weight_range",
            "Reach of a weight's grid: its largest value, or the least squared error "
            "among 100 candidates."},
           s.weight_range, {"min_max", "mse"});
  v.choice({"weight_grain", "What shares a weight's scale: all of it, a row, or 64 in a row."},
           s.weight_grain, {"tensor", "row", "group"});
  v.choice({"activation_range",
            "Scale of an activation: from calibrated percentiles, or from each "
            "token's own largest value (symmetric)."},
           s.activation_range, {"percentile", "per_token"});
  v.integer({"calibration_batches", "Training batches that set the activation ranges."},
            s.calibration_batches, {1, 4096});
  v.integer({"calibration_batch_size",
             "Sequences in one of them; part of the protocol, because "
             "the percentile cuts a fixed share of the values."},
            s.calibration_batch_size, {1, 4096});
  v.number({"momentum", "Weight of the old range when a later batch enters."}, s.momentum, {0, 1});
  v.number({"percentile", "Upper percentile of a range; the lower is 100 minus it."}, s.percentile,
           {50, 100, true});
  v.optional_integer({"site_cost_tokens",
                      "Also the perplexity on the first this many tokens with each point and each "
                      "weight quantized alone, which is a forward pass for each; null: not "
                      "measured."},
                     s.site_cost_tokens, {2, 1 << 20});
  v.integer({"seed", "Random seed of calibration and quantized evaluation."}, s.seed,
            {0, kMaxInteger});
}

template <typename Visitor>
void fields(Visitor& v, Suite& s) {
  v.text({"name", "Names the run folder: letters, digits, '-', '_' and '.'.", kRequired}, s.name);
  v.text({"description", "What the suite shows."}, s.description);
  v.named_objects({"datasets", "Data sets to train on: names, or objects.", kRequired}, s.datasets,
                  "name");
  v.objects(
      {"models", "Models to train, with Hugging Face's keys, or checkpoints to continue from.",
       kRequired},
      s.models);
  v.object({"initialization", "How weights start."}, s.initialization);
  v.named_objects({"methods", "Methods to compare: names, or objects that change one.", kRequired},
                  s.methods, "method");
  v.object({"routing", "Depth routing of the routed methods."}, s.routing);
  v.integers({"seeds", "Each seed trains a model of its own."}, s.seeds, {0, kMaxInteger});
  v.object({"training", "Pretraining."}, s.training);
  v.object({"evaluation", "Evaluation in full precision and quantized."}, s.evaluation);
  v.objects({"quantization", "Settings of simulated quantization after training."}, s.quantization);
  v.optional_object({"gsm8k",
                     "GSM8K Pass@1 in full precision and under each setting of quantization; null: "
                     "no problem is asked."},
                    s.gsm8k);
}

}  // namespace oasis::suite_fields
