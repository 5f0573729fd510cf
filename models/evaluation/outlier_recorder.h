// Outlier figures of every recorded site. Definitions: models/evaluation.h.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "models/evaluation.h"
#include "models/evaluation/running_mean.h"

namespace oasis {

class OutlierRecorder {
 public:
  // `with_kurtosis`: whether this activation [B, T, D] counts for the kurtosis.
  void add(const std::string& site, const at::Tensor& activation, bool with_kurtosis);
  void report(EvaluationResult& result) const;

 private:
  enum Quantity { kInfSeq, kInfToken, kKurtSeq, kKurtSeqNoEps, kKurtToken, kKurtTokenNoEps };
  static constexpr size_t kQuantities = 6;
  static constexpr std::array<const char*, kQuantities> kNames = {
      "inf_norm/seq",       "inf_norm/token", "kurtosis/seq",
      "kurtosis/seq_noeps", "kurtosis/token", "kurtosis/token_noeps"};

  struct Site {
    std::string name;
    std::array<RunningMean, kQuantities> means;
  };
  // Maximum or mean over the sites that `chosen` names.
  template <typename Chosen>
  Metric reduced(const std::string& name, Quantity quantity, bool maximum,
                 const Chosen& chosen) const;

  std::vector<Site> sites_;  // in the order of the forward pass
};

}  // namespace oasis
