// One training run: AdamW with fused updates, gradient accumulation, resumable bit for bit.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/step_graph.h"
#include "models/decoder.h"
#include "models/training_options.h"

namespace oasis {

struct StepReport {
  int64_t step = 0;   // steps done, this one included
  double loss = 0.0;  // mean over the step's next-token pairs, or counted targets, nats
  double learning_rate = 0.0;
  double gradient_norm = 0.0;  // before clipping, of all parameters
  int64_t tokens = 0;          // tokens fed in this step
  int64_t micro_batch = 0;  // sequences at a time: halved while the GPU's memory does not suffice

  bool is_finite() const;
};

class Trainer {
 public:
  // Trains `model` in place; its parameters are moved to require gradients.
  Trainer(Decoder& model, const TrainingOptions& options);

  // One update from int64 tokens [sequences, T] on any device (of one
  // shape as a rule: another one is set up anew). A report that is not finite means that the
  // parameters were left as they were. The host waits for the device once, at the end.
  // `targets` (int64, as tokens): what each position predicts, kIgnoredTarget for none, at least
  // one in each sequence; the loss is the mean over all that count, in whatever micro-batch they
  // are. Undefined: the next token.
  StepReport step(const at::Tensor& tokens, const at::Tensor& targets = {});

  int64_t steps_done() const { return step_; }
  const TrainingOptions& options() const { return options_; }

  // Weights, optimizer moments, step and random state in one file, written atomically; `identity`
  // (a stage key) is stored and compared on load. Throws Error.
  void save(const std::filesystem::path& file, const std::string& identity) const;
  // Throws Error (bad input) when the file is damaged or belongs to another run.
  void load(const std::filesystem::path& file, const std::string& identity);

 private:
  struct Group {  // parameters that share a weight decay and a gradient clip
    std::vector<at::Tensor> parameters, exp_avg, exp_avg_sq, steps;
    double weight_decay = 0.0;
    double clip = 0.0;  // 0: none
    size_t norm = 0;    // which of the clipped norms it belongs to
  };

  void prepare(at::IntArrayRef shape, bool with_targets);
  void run_step();  // on the device alone, from tokens_ and learning_rate_ to outcome_
  void accumulate_gradients();
  // The mean loss of sequences begin … begin + count − 1, times their share in that of all.
  at::Tensor weighted_loss(int64_t begin, int64_t count) const;
  void clip_and_update();
  bool halve_micro_batch();

  Decoder& model_;
  TrainingOptions options_;
  std::vector<Group> groups_;
  std::vector<at::Tensor> moments_;  // for saving: exp_avg, exp_avg_sq per parameter, in order
  int64_t step_ = 0;
  int64_t micro_batch_ = 0;

  // What a step reads and writes on the device, in one place for every step.
  at::Tensor tokens_;         // int64 [sequences, T]
  at::Tensor targets_;        // the same, or undefined
  at::Tensor learning_rate_;  // float32 []
  at::Tensor outcome_;        // float64 [2]: loss, gradient norm
  std::unique_ptr<StepGraph> graph_;
};

}  // namespace oasis
