// One training run: AdamW with fused updates, gradient accumulation, resumable bit for bit.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>
#include <vector>

#include "models/decoder.h"
#include "models/training_options.h"

namespace oasis {

struct StepReport {
  int64_t step = 0;   // steps done, this one included
  double loss = 0.0;  // mean over the step's next-token pairs, nats
  double learning_rate = 0.0;
  double gradient_norm = 0.0;  // before clipping, of all parameters
  int64_t tokens = 0;          // tokens fed in this step

  bool is_finite() const;
};

class Trainer {
 public:
  // Trains `model` in place; its parameters are moved to require gradients.
  Trainer(Decoder& model, const TrainingOptions& options);

  // One update from int64 tokens [sequences, T] on any device. A report that is not finite means
  // that the parameters were left as they were.
  StepReport step(const at::Tensor& tokens);

  int64_t steps_done() const { return step_; }
  const TrainingOptions& options() const { return options_; }

  // Weights, optimizer moments, step and random state in one file, written atomically; `identity`
  // (a stage key) is stored and compared on load. Throws Error.
  void save(const std::filesystem::path& file, const std::string& identity) const;
  // Throws Error (bad input) when the file is damaged or belongs to another run.
  void load(const std::filesystem::path& file, const std::string& identity);

 private:
  double accumulate_gradients(const at::Tensor& tokens);
  double clip_gradients();
  void update(double learning_rate);

  struct Group {  // parameters that share a weight decay
    std::vector<at::Tensor> parameters, exp_avg, exp_avg_sq, steps;
    double weight_decay = 0.0;
  };

  Decoder& model_;
  TrainingOptions options_;
  std::vector<Group> groups_;
  std::vector<at::Tensor> moments_;  // for saving: exp_avg, exp_avg_sq per parameter, in order
  int64_t step_ = 0;
  double gradient_norm_ = 0.0;
};

}  // namespace oasis
