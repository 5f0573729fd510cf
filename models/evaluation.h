// Every metric of DESIGN.md section 5 and PROTOCOLS.md in one pass over the data.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "models/decoder.h"

namespace oasis {

struct Metric {
  std::string name;             // as in PROTOCOLS.md: "perplexity", "max_inf_norm/seq", …
  std::optional<double> value;  // nothing: not defined here, `note` says why
  std::string unit;             // "nat/token", "1", …
  int64_t n = 0;                // what the figure is a mean or a maximum over
  std::string note;
};

// A figure of one site, layer, head or source.
struct Statistic {
  std::string place;     // "model.layers.3.mlp", "model.layers.3.self_attn/head2", "3.sa/source1"
  std::string quantity;  // "inf_norm/seq", "first_token_mass", "depth_weight", "null_posterior", …
  double value = 0.0;
  int64_t n = 0;
};

struct EvaluationOptions {
  bool diagnostics = true;      // outliers, sinks, depth; off: loss and perplexity alone
  int64_t kurtosis_batches = 101;  // kurtosis is averaged over the first of these many batches
  double sink_threshold = 0.3;
  int64_t sink_length = 64;
};

struct TextSize {  // of the whole split that the tokens come from, for bits per byte
  int64_t tokens = 0, bytes = 0, words = 0;  // 0 bytes: unknown
};

struct EvaluationResult {
  std::vector<Metric> metrics;
  std::vector<Statistic> statistics;
};

// Called before each batch with (batches done, batches); returns false to stop (Error, failed).
using EvaluationProgress = std::function<bool(int64_t, int64_t)>;

// Evaluates on batches of int64 tokens [B, T] (any B, one T). `observer` quantizes, when given;
// diagnostics are for full precision, and are left out with it.
EvaluationResult evaluate(const Decoder& model, const std::vector<at::Tensor>& batches,
                          const EvaluationOptions& options, const TextSize& text = {},
                          ForwardObserver* quantizer = nullptr,
                          const EvaluationProgress& progress = {});

}  // namespace oasis
