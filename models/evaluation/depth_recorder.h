// Depth routing weights, and Assumption D.4 on the joint route. Definitions: models/evaluation.h.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "models/evaluation.h"
#include "models/evaluation/running_mean.h"
#include "models/evaluation/sink_recorder.h"

namespace oasis {

class DepthRecorder {
 public:
  // `has_null`: the depth normalizer's.
  DepthRecorder(int64_t layers, int64_t heads, bool has_null);

  // A layer's attention; routers that come after read it.
  void add_attention(int64_t layer, const AttentionRows& rows);
  // α [B, T, sources] and the layer of each source, −1 for the embedding.
  void add_router(const std::string& router, const at::Tensor& weights,
                  const std::vector<int64_t>& source_layers);
  void report(EvaluationResult& result) const;

 private:
  struct RouterFigures {
    std::string name;
    RunningMean weight;  // by source
    RunningMean null, entropy;
  };
  RouterFigures& figures_of(const std::string& router);
  void add_joint_route(const at::Tensor& weights, const std::vector<int64_t>& source_layers);

  enum D4 { kLeakage, kConcentration, kNegativeEntropy };

  int64_t heads_;
  bool has_null_;
  std::vector<AttentionRows> rows_;  // of the sequences being run, by layer
  std::vector<RouterFigures> routers_;
  std::array<RunningMean, 3> d4_;
};

}  // namespace oasis
