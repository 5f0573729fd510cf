// Every metric of DESIGN.md section 5 and PROTOCOLS.md in one pass over the data.
//
// Metrics, in the order in which they are reported. N sequences of T tokens, D hidden size, L
// layers, H heads; A[i,j] the probability of key j at query i, ρ_i the null posterior of row i.
//
//   name                        unit        n                formula
//   loss                        nat/token   N·(T−1) pairs    mean next-token cross-entropy
//   perplexity                  1           pairs            e^loss
//   bits_per_byte               bit/byte    pairs            loss/ln 2 · tokens/bytes of the split
//   word_perplexity             1           pairs            e^(loss · tokens/words of the split)
//
//   Outliers (Qualcomm's validation script, as the OASIS code has it). A site's figure is the mean
//   of inf = max|x| or kurtosis = mean((x−μ)⁴)/(s⁴ + ε), s unbiased, not excess; `seq`: of the
//   T·D values of a sequence, ε = 1e-6; `token`: of the D values of a token, ε = 1e-6; `_noeps`:
//   ε = 0. Kurtosis is taken over the first options.kurtosis_batches batches only.
//   max_inf_norm/{seq,token}    1           sequences,       largest site figure
//   avg_kurtosis/{seq,token}    1             tokens         mean of the sites' figures
//   avg_kurtosis/{seq,token}_noeps                           the same with ε = 0
//   max_kurtosis/seq                                         largest site figure
//   max_inf_norm/seq/mlp, max_kurtosis/seq/mlp               largest among MLP outputs
//   max_inf_norm/seq/layer, max_kurtosis/seq/layer           largest among layer outputs
//
//   Massive activations (Sun et al., arXiv 2402.17762), in layer outputs.
//   massive_activations         1/sequence  N                values with |x| > 100 and
//                                                            ≥ 1000·median|x| of their [T,D],
//                                                            over all layers, per sequence
//   massive_activations/max_to_median  1    N·L states       largest max|x|/median|x| of a state
//
//   Sinks (Gu et al., arXiv 2410.10781; PROTOCOLS.md). Means over layers, heads, queries.
//   first_token_mass            1           N·L·H·T rows     A[i,0]
//   first_token_mass/without_first          N·L·H·(T−1)      A[i,0], i ≥ 1
//   first_token_mass/renormalized           rows             A[i,0]/(1 − ρ_i)
//   null_mass                   1           rows             ρ_i (Softmax1; else exactly 0)
//   attention_entropy           nat         rows             −Σ_j A[i,j] ln A[i,j]
//   attention_max               1           rows             max_j A[i,j]
//   sink_rate                   1           N·L·H            share of heads with a_0 > 0.3, where
//                                                            a_k = Σ_{i≥k} A[i,k]/(S−k) over the
//                                                            first S = min(T, 64) positions
//   sink_rate/any               1           N·L·H            share with max_k a_k > 0.3, k < S/2,
//   so
//                                                            that a_k averages over half of them
//
//   Depth routing, absent without routers. α_i the weights of a router's sources.
//   depth_null_mass             1           N·T·routers      1 − Σ_i α_i (Softmax1; else exactly 0)
//   depth_entropy               nat         N·T·routers      −Σ_i α_i ln α_i
//   Assumption D.4 of the paper on the joint route q(i,j) = α_i p_i(j) of each head and router,
//   over queries t ≥ 1 (the sink set {0} is left out). p_i is the attention of the layer that
//   source i comes from, an MLP's output counting as its layer's attention; a run's (block form)
//   is the mean over its outputs so far, as its ψ is; the embedding's is attention to the token
//   itself.
//   d4_leakage                  1           N·H·(T−1)·       Σ_i α_i p_i(0)
//   d4_concentration            1             routers        max_i α_i max_j p_i(j)
//   d4_negative_entropy         nat                          Σ_ij q ln q = Σ_i α_i ln α_i Σ_j
//   p_i(j)
//                                                            + Σ_i α_i Σ_j p_i(j) ln p_i(j)
//
// Statistics: of a site (place: its module's name) the six quantities inf_norm/{seq,token} and
// kurtosis/{seq,token}[_noeps]; of "model.layers.{i}" massive_activations and max_to_median; of
// "model.layers.{i}.self_attn/head{h}" the sink metrics' quantities (first_token_mass,
// first_token_mass_without_first, first_token_mass_renormalized, null_mass, attention_entropy,
// attention_max, sink_rate, sink_rate_any); of "model.layers.{i}.self_attn" null_posterior, the
// mean of ψ = mean over heads of ρ; of a router ("3.sa", "3.mlp", "final") depth_null_mass and
// depth_entropy, and of its sources ("3.sa/source1") depth_weight.
//
// Figures that are not a number come through as NaN.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "models/decoder.h"

namespace oasis {

struct Metric {
  std::string name;             // as above
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

// Massive activations (|x| > 100 and ≥ 1000·median|x| of the layer output [T, D] that they are in)
// of one channel at one token and position, over layers and sequences.
struct MassiveActivation {
  int64_t token = 0;     // its id
  int64_t position = 0;  // in the sequence
  int64_t channel = 0;
  int64_t first_layer = 0, last_layer = 0;  // the lowest and the highest whose output has one
  double largest = 0.0;                     // of largest magnitude, with its sign
  int64_t largest_layer = 0;
  int64_t n = 0;  // values
};
inline constexpr size_t kMassiveRows = 1000;

// A matrix of the first sequence evaluated, for figures; see the table `examples` of the results
// database. Places are those of statistics: "model.layers.3.self_attn" (attention),
// "3.sa" or "final" (depth_weight), "model.layers.3" (hidden_magnitude).
struct Example {
  std::string quantity;
  std::string place;
  int64_t rows = 0;      // positions
  int64_t columns = 0;   // keys, sources or channels
  int64_t stride = 1;    // channels that a column is the largest of
  std::string contents;  // rows · columns IEEE float16, little-endian
};
// 32 layers, hidden 4096: 32 KB of attention, 75 KB of depth weights, 131 KB of magnitudes.
inline constexpr int64_t kExamplePositions = 64, kExampleLayers = 4, kExampleColumns = 256;

struct EvaluationOptions {
  bool diagnostics = true;         // outliers, sinks, depth; off: loss and perplexity alone
  int64_t kurtosis_batches = 101;  // kurtosis is averaged over the first of these many batches
  double sink_threshold = 0.3;
  int64_t sink_length = 64;
};

struct TextSize {  // of the whole split that the tokens come from, for bits per byte
  int64_t tokens = 0, bytes = 0, words = 0;  // 0: unknown
};

struct EvaluationResult {
  std::vector<Metric> metrics;
  std::vector<Statistic> statistics;
  // Largest magnitude first, at most kMassiveRows of massive_places.
  std::vector<MassiveActivation> massive_activations;
  int64_t massive_places = 0;
  std::vector<Example> examples;  // in the order of the forward pass
};

// Called before each batch with (batches done, batches); returns false to stop (Error, failed).
using EvaluationProgress = std::function<bool(int64_t, int64_t)>;

// Evaluates on batches of int64 tokens [B, T] (any B, one T) on any device. `quantizer`: the
// observer of a QuantizedModel whose model() is `model`; diagnostics are for full precision, and
// are left out with it. Figures do not depend on how sequences are batched beyond rounding, the
// cut at options.kurtosis_batches aside. Throws Error (bad input) for no tokens or unequal T.
EvaluationResult evaluate(const Decoder& model, const std::vector<at::Tensor>& batches,
                          const EvaluationOptions& options, const TextSize& text = {},
                          ForwardObserver* quantizer = nullptr,
                          const EvaluationProgress& progress = {});

}  // namespace oasis
