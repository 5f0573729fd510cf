// One recorded forward pass, as `oasis inspect` writes it (DESIGN.md, Checkpoint layout).
#pragma once

#include <ATen/core/Tensor.h>

#include "models/decoder.h"
#include "models/quantization.h"
#include "models/safetensors.h"

namespace oasis {

struct InspectionOptions {
  bool attention = false;  // probs.{i} [B, H, T, T]
  // grad.{weight} of the mean next-token cross-entropy, each weight as the checkpoint stores it
  bool gradients = false;
  // int64 [B, T] as target_loss takes them: adds loss [], which grad.{weight} is then of
  at::Tensor targets = {};
};

// Tensors by name: logits, null_posterior.{i}, depth_weights.{i}.{sa,mlp} and .final,
// site.{module}, and what the options add. `tokens` int64 [B, T]. With `quantized`, its weights
// and quantizers are used, and range.{point} (lo, hi) is added.
NamedTensors inspect(Decoder& model, const at::Tensor& tokens, const InspectionOptions& options,
                     QuantizedModel* quantized = nullptr);

}  // namespace oasis
