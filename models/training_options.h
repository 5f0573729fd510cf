// The pretraining protocol; defaults are the published values (DESIGN.md, section 5).
#pragma once

#include <cstdint>
#include <optional>

namespace oasis {

struct TrainingOptions {
  int64_t steps = 100'000;
  int64_t warmup_steps = 2'000;  // linear from 0; then linear decay to 0 at `steps`
  double learning_rate = 4e-4;   // peak
  double beta1 = 0.9, beta2 = 0.95;
  double epsilon = 1e-8;
  double weight_decay = 0.1;          // on every parameter without "bias" in its name
  double gradient_clip = 1.0;         // global norm; 0: none
  std::optional<double> router_clip;  // routers' own norm, kept out of the global one
  int64_t micro_batch = 0;            // sequences at a time; 0: the whole batch
  bool autocast_bf16 = false;         // matrix products and residual stream in bfloat16 (CUDA)
  bool cuda_graph = true;             // the whole step as one CUDA graph, where there is a GPU
  bool deterministic = false;         // no kernel whose order of adding up varies (CUDA)
  bool recompute = false;             // sublayers again in the backward pass, not kept
};

// The learning rate of step s (0-based): warm-up lr·(s+1)/warmup, then lr·(steps−s)/(steps−warmup).
double learning_rate_at(const TrainingOptions& options, int64_t step);

}  // namespace oasis
