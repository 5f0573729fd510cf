// Attention sinks from explicit probabilities. Definitions: models/evaluation.h.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "models/evaluation.h"
#include "models/evaluation/running_mean.h"

namespace oasis {

// What is kept of a layer's probabilities [B, H, T, T]: four figures of each row, float64
// [B, H, T].
struct AttentionRows {
  at::Tensor first;             // A[i,0]
  at::Tensor mass;              // Σ_j A[i,j]
  at::Tensor largest;           // max_j A[i,j]
  at::Tensor negative_entropy;  // Σ_j A[i,j] ln A[i,j]
};

AttentionRows attention_rows(const at::Tensor& probs);

class SinkRecorder {
 public:
  SinkRecorder(int64_t layers, bool has_null, const EvaluationOptions& options);

  // probs [B, H, T, T] and their rows, null_posterior [B, H, T].
  void add(int64_t layer, const at::Tensor& probs, const AttentionRows& rows,
           const at::Tensor& null_posterior);
  void report(EvaluationResult& result) const;

 private:
  enum Quantity {
    kFirst,
    kWithoutFirst,
    kRenormalized,
    kNull,
    kEntropy,
    kLargest,
    kSinkRate,
    kSinkRateAny
  };
  static constexpr size_t kQuantities = 8;

  bool has_null_;
  double threshold_;
  int64_t length_;
  std::vector<std::array<RunningMean, kQuantities>> layers_;  // means per head
};

}  // namespace oasis
