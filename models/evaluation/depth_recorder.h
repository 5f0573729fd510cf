// Depth routing weights, and Assumption D.4 on the joint route. Definitions: models/evaluation.h.
#pragma once

#include <array>
#include <map>
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

  // A layer's probabilities [B, H, T, T] and their rows; routers that come after read them.
  void add_attention(int64_t layer, const at::Tensor& probs, const AttentionRows& rows);
  // α [B, T, sources] and each source's layers; the newest source of a run holds one output more
  // than it did at the router before.
  void add_router(const std::string& router, const at::Tensor& weights,
                  const std::vector<SourceLayers>& sources);
  void report(EvaluationResult& result) const;

 private:
  struct RouterFigures {
    std::string name;
    RunningMean weight;  // by source
    RunningMean null, entropy;
  };
  RouterFigures& figures_of(const std::string& router);
  void follow_run(const SourceLayers& newest);
  const AttentionRows& rows_of(const SourceLayers& source) const;
  void add_joint_route(const at::Tensor& weights, const std::vector<SourceLayers>& sources);

  enum D4 { kLeakage, kConcentration, kNegativeEntropy };

  int64_t heads_;
  bool has_null_;
  // Of the sequences being run: rows by layer, and of runs over several layers.
  std::vector<AttentionRows> rows_;
  std::map<SourceLayers, AttentionRows> rows_of_runs_;
  at::Tensor newest_probs_, run_sum_;  // [B, H, T, T]: the last layer's; over the run in progress
  std::vector<RouterFigures> routers_;
  std::array<RunningMean, 3> d4_;
};

}  // namespace oasis
