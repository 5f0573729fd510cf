// What one sequence looks like inside a model, small enough to be stored for figures.
#pragma once

#include <string>
#include <vector>

#include "models/evaluation.h"

namespace oasis {

class ExampleRecorder {
 public:
  explicit ExampleRecorder(int64_t layers);

  // Sequences follow; only the first one ever is recorded.
  void begin();
  // probs [B, H, T, T]
  void add_attention(int64_t layer, const at::Tensor& probs);
  // weights [B, T, sources] of router "{layer}.sa", "{layer}.mlp" or "final"
  void add_router(const std::string& router, const at::Tensor& weights);
  // activation [B, T, D]; ignored unless it is a layer's output
  void add_site(const std::string& site, const at::Tensor& activation);
  void report(EvaluationResult& result) const;

 private:
  bool wants(int64_t layer) const;
  void keep(const char* quantity, const std::string& place, const at::Tensor& matrix,
            int64_t stride);

  std::vector<int64_t> layers_;  // recorded
  int64_t begun_ = 0;
  std::vector<Example> examples_;
};

}  // namespace oasis
