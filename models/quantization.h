// Simulated post-training quantization (PROTOCOLS.md, Quantization): symmetric weights, per tensor,
// row or group; activations static and asymmetric with running percentile ranges, or dynamic and
// symmetric for each token; at two sets of points.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "models/decoder.h"
#include "models/forward_observer.h"
#include "models/weight_grid.h"

namespace oasis {

enum class QuantizationPoints { kPublished, kAllInputs };

QuantizationPoints parse_quantization_points(std::string_view name);  // Error (bad input)
std::string_view quantization_points_name(QuantizationPoints points);

// Where an activation's scale comes from.
//   kPercentile: static, per tensor, asymmetric, from calibration (published)
//   kPerToken:   dynamic, symmetric, for each row of the last dimension (a token's vector, or a
//                query's row over the keys that it sees): scale = max|x|/(2^(b−1) − 1), at least
//                1e-12 (SmoothQuant, QuaRot); nothing to calibrate
enum class ActivationRange { kPercentile, kPerToken };

ActivationRange parse_activation_range(std::string_view name);  // Error (bad input)

struct QuantizationOptions {
  int weight_bits = 8;      // 2 to 16
  int activation_bits = 8;  // 2 to 16
  QuantizationPoints points = QuantizationPoints::kPublished;
  WeightGrid weights = {};  // the published grid: min–max, per tensor
  ActivationRange activations = ActivationRange::kPercentile;
  double momentum = 0.9;  // of the running range: new = momentum·old + (1 − momentum)·batch
  double percentile = 99.999;  // upper; the lower is 100 − percentile

  void validate() const;  // Error (bad input)
};

// Whether a point (named as in PROTOCOLS.md) belongs to the set.
bool is_quantization_point(const std::string& name, QuantizationPoints points);

// A model with quantized weights and, once calibrated, quantized activations. Use it like this:
//   QuantizedModel q(model, options);
//   for (batch : calibration) q.calibrate(batch);    // int64 [B, T]
//   q.model().loss(tokens, &q.observer());
class QuantizedModel {
 public:
  QuantizedModel(const Decoder& model, const QuantizationOptions& options);
  ~QuantizedModel();
  QuantizedModel(const QuantizedModel&) = delete;
  QuantizedModel& operator=(const QuantizedModel&) = delete;

  // One batch through the model: every quantizer updates its range and passes on quantized values.
  // Does nothing where ranges are taken per token.
  void calibrate(const at::Tensor& tokens);

  const Decoder& model() const { return model_; }
  // Quantizes every point of the set with its fixed range. Throws Error (failed) before
  // calibration.
  ForwardObserver& observer();

  // Point name -> (lo, hi), the running range itself.
  const std::map<std::string, std::pair<double, double>>& ranges() const { return ranges_; }

  // The quantizing observer hands sites, attention and depth weights on to this one.
  void set_recorder(ForwardObserver* recorder) { recorder_ = recorder; }

 private:
  class Quantizer;
  Decoder model_;
  QuantizationOptions options_;
  std::map<std::string, std::pair<double, double>> ranges_;
  bool calibrating_ = false;
  ForwardObserver* recorder_ = nullptr;
  std::unique_ptr<Quantizer> quantizer_;
};

}  // namespace oasis
