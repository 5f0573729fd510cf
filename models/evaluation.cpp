#include "models/evaluation.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "models/evaluation/depth_recorder.h"
#include "models/evaluation/example_recorder.h"
#include "models/evaluation/massive_recorder.h"
#include "models/evaluation/outlier_recorder.h"
#include "models/evaluation/running_mean.h"
#include "models/evaluation/sink_recorder.h"
#include "support/error.h"

namespace oasis {
namespace {

// Of one layer's probabilities [B, H, T, T]: how many sequences go through the model at once where
// these are explicit.
constexpr int64_t kProbabilityBytes = int64_t{256} << 20;

// Hands what the forward pass shows to the recorders.
class Diagnostics : public ForwardObserver {
 public:
  Diagnostics(const ModelConfig& config, const EvaluationOptions& options)
      : sinks_(config.num_hidden_layers, config.method.token.has_null(), options),
        depth_(config.num_hidden_layers, config.num_attention_heads,
               config.method.depth && config.method.depth->has_null()),
        examples_(config.num_hidden_layers),
        is_routed_(config.method.routing != Routing::kNone),
        kurtosis_batches_(options.kurtosis_batches) {}

  void begin_batch(int64_t index) { with_kurtosis_ = index < kurtosis_batches_; }

  void begin_sequences(const at::Tensor& tokens) {
    massive_.begin(tokens);
    examples_.begin();
  }

  bool has_attention() const override { return true; }
  void site(const std::string& name, const at::Tensor& value) override {
    outliers_.add(name, value, with_kurtosis_);
    massive_.add(name, value);
    examples_.add_site(name, value);
  }
  void attention(int64_t layer, const at::Tensor& probs, const at::Tensor& rho) override {
    const auto rows = attention_rows(probs);
    sinks_.add(layer, probs, rows, rho);
    examples_.add_attention(layer, probs);
    if (is_routed_) depth_.add_attention(layer, probs, rows);
  }
  void depth_weights(const std::string& router, const at::Tensor& weights,
                     const std::vector<SourceLayers>& sources) override {
    depth_.add_router(router, weights, sources);
    examples_.add_router(router, weights);
  }

  void report(EvaluationResult& result) const {
    outliers_.report(result);
    massive_.report(result);
    sinks_.report(result);
    depth_.report(result);
    examples_.report(result);
  }

 private:
  OutlierRecorder outliers_;
  MassiveActivationRecorder massive_;
  SinkRecorder sinks_;
  DepthRecorder depth_;
  ExampleRecorder examples_;
  bool is_routed_;
  int64_t kurtosis_batches_;
  bool with_kurtosis_ = true;
};

int64_t check_batches(const std::vector<at::Tensor>& batches) {
  if (batches.empty()) throw bad_input("nothing to evaluate: no sequences");
  const int64_t length = batches.front().dim() == 2 ? batches.front().size(1) : 0;
  for (size_t i = 0; i < batches.size(); ++i) {
    const auto& batch = batches[i];
    if (batch.dim() != 2 || batch.numel() == 0 || batch.size(1) != length) {
      throw bad_input(
          "evaluation batch {}: tokens must be [B,T] with B and T at least 1 and one T for all "
          "batches",
          i);
    }
  }
  return length;
}

void report_loss(const RunningMean& loss, const TextSize& text, EvaluationResult& result) {
  const int64_t pairs = loss.count();
  const auto add = [&](const char* name, const char* unit, std::optional<double> value,
                       const char* reason) {
    if (pairs == 0) {
      value.reset();
      reason = "sequences of one token have no next token";
    }
    result.metrics.push_back({name, value, unit, pairs, value ? "" : reason});
  };
  const double nats = loss.mean();
  const auto nats_per = [&](int64_t count) {
    return nats * static_cast<double>(text.tokens) / static_cast<double>(count);
  };
  std::optional<double> bits, word;
  if (text.tokens > 0 && text.bytes > 0) bits = nats_per(text.bytes) / std::log(2.0);
  if (text.tokens > 0 && text.words > 0) word = std::exp(nats_per(text.words));
  add("loss", "nat/token", nats, "");
  add("perplexity", "1", std::exp(nats), "");
  add("bits_per_byte", "bit/byte", bits, "the bytes of the text are not known");
  add("word_perplexity", "1", word, "the words of the text are not known");
}

}  // namespace

EvaluationResult evaluate(const Decoder& model, const std::vector<at::Tensor>& batches,
                          const EvaluationOptions& options, const TextSize& text,
                          ForwardObserver* quantizer, const EvaluationProgress& progress) {
  const at::NoGradGuard no_grad;
  const int64_t length = check_batches(batches);
  const auto& config = model.config();
  std::optional<Diagnostics> diagnostics;
  if (options.diagnostics && quantizer == nullptr) diagnostics.emplace(config, options);
  ForwardObserver* observer = diagnostics ? &*diagnostics : quantizer;

  const auto& weights = model.embed_tokens();
  const int64_t sequence_bytes =
      config.num_attention_heads * length * length * static_cast<int64_t>(weights.element_size());
  const int64_t at_once = observer != nullptr
                              ? std::max<int64_t>(1, kProbabilityBytes / sequence_bytes)
                              : std::numeric_limits<int64_t>::max();
  RunningMean loss;
  const auto count = static_cast<int64_t>(batches.size());
  for (int64_t i = 0; i < count; ++i) {
    if (progress && !progress(i, count)) throw failed("evaluation stopped before it was done");
    if (diagnostics) diagnostics->begin_batch(i);
    const auto batch = batches[static_cast<size_t>(i)].to(weights.device());
    for (int64_t first = 0; first < batch.size(0); first += at_once) {
      const auto tokens = batch.narrow(0, first, std::min(at_once, batch.size(0) - first));
      if (diagnostics) diagnostics->begin_sequences(tokens);
      if (length > 1) {
        loss.add(model.loss(tokens, observer).second, {0, 1});
      } else {
        model.forward(tokens, observer);
      }
    }
  }
  EvaluationResult result;
  report_loss(loss, text, result);
  if (diagnostics) diagnostics->report(result);
  return result;
}

}  // namespace oasis
