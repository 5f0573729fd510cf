// What quantizing one site alone costs: where a quantized model loses its perplexity.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "models/decoder.h"
#include "models/evaluation.h"
#include "models/quantization.h"

namespace oasis {

struct SiteCost {
  std::string site;  // a quantization point ("model.layers.3.mlp.up_proj") or a weight's name
  double perplexity = 0.0;  // with it alone quantized; may be infinite or not a number
};

struct SiteCosts {
  double perplexity = 0.0;      // with nothing quantized
  std::vector<SiteCost> sites;  // the costliest first, not a number before all
  int64_t n = 0;                // next-token pairs
};

// The start of the batches: as many sequences as make up `count` tokens, at least one, which is cut
// where it is longer than that.
std::vector<at::Tensor> first_tokens(const std::vector<at::Tensor>& batches, int64_t count);

// Every point that `quantized` quantizes, under its calibrated range, and every weight that it
// holds quantized: one forward pass of `batches` each (int64 [B, T] on the model's device).
// `quantized` is made of `model`. `progress`: as in evaluate(), of sites.
SiteCosts measure_site_costs(const Decoder& model, QuantizedModel& quantized,
                             const std::vector<at::Tensor>& batches,
                             const EvaluationProgress& progress = {});

}  // namespace oasis
