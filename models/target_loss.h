// Cross-entropy against chosen targets: fine-tuning on answers alone, on padded batches.
#pragma once

#include <ATen/core/Tensor.h>

#include "models/decoder.h"

namespace oasis {

// Mean over the counted positions of −ln p(targets[b, t] | tokens[b, 0 … t]), nats, []. Both int64
// [B, T] on the model's device; a position whose target is kIgnoredTarget (−100) does not count.
// Attention is causal, so what stands behind the last counted position of a sequence, such as
// padding, changes nothing, but that LongRoPE takes its factors by T. NaN when no position counts.
at::Tensor target_loss(const Decoder& model, const at::Tensor& tokens, const at::Tensor& targets);

}  // namespace oasis
