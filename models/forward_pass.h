// One forward pass of a decoder over one batch. Internal to models/.
//
// With a key-value cache the same code prefills it or goes on from it by one position: they differ
// from a plain pass in `rotate` and `attend` alone. Depth routing is position by position, so a new
// position needs nothing of the ones before it but their keys and values.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "kernels/depth_route/depth_history.h"
#include "kernels/depth_route/router_bank.h"
#include "models/decoder.h"
#include "models/forward_observer.h"
#include "models/generation/key_value_cache.h"

namespace oasis {

class ForwardPass {
 public:
  // `cache` (null: none) is what the pass fills or goes on from.
  ForwardPass(const Decoder& model, const at::Tensor& tokens, ForwardObserver* observer,
              const CacheUse* cache = nullptr);

  at::Tensor run();  // the final norm's output [B, T, D]

 private:
  struct AttentionOutput {
    at::Tensor value;  // [B, T, D] after o_proj; before it where adds_inside_product(o_proj)
    at::Tensor psi;    // [B·T] branch null, undefined where the normalizer has none
  };

  at::Tensor run_residual(at::Tensor h);
  at::Tensor run_projected(const at::Tensor& embedding);
  at::Tensor run_pseudo_query(const at::Tensor& embedding);

  // A layer's norm with its attention, or with its MLP, recomputed or not as the model wants it.
  // First h += branch where there is one; `sum` is that sum's point.
  AttentionOutput attention(int64_t layer, at::Tensor& h, const at::Tensor& branch = {},
                            const std::string& sum = "");
  at::Tensor mlp(int64_t layer, at::Tensor& h, const at::Tensor& branch = {},
                 const std::string& sum = "");
  AttentionOutput run_attention(int64_t layer, const at::Tensor& x);  // of the norm's output
  at::Tensor run_mlp(int64_t layer, const at::Tensor& x);             // as AttentionOutput::value
  // Whether the residual addition happens inside the last product of a sublayer.
  bool adds_inside_product(const Linear& last) const;
  at::Tensor heads(const at::Tensor& projected) const;  // [.., H·d] as [B, H, T, d]
  // RoPE on x [B, H, T, d], after the QK norm where there is a gain
  at::Tensor rotate(const at::Tensor& x, const at::Tensor& gain);
  // [B, H, T, d] and null posterior [B, H, T]
  std::tuple<at::Tensor, at::Tensor> attend(int64_t layer, const at::Tensor& q, const at::Tensor& k,
                                            const at::Tensor& v);
  // The same on explicit scores; in decoding `hidden` [B, 1, 1, C] tells the keys that do not exist
  // yet from those that do.
  std::tuple<at::Tensor, at::Tensor> attend_with_points(int64_t layer, const at::Tensor& q,
                                                        const at::Tensor& k, const at::Tensor& v,
                                                        const at::Tensor& hidden = {});
  bool decodes() const { return cache_ != nullptr && cache_->decodes(); }

  at::Tensor linear(const at::Tensor& x, const Linear& weights, const std::string& name);
  // Several linear layers of one input.
  std::vector<at::Tensor> linears(const at::Tensor& x,
                                  const std::vector<std::pair<const Linear*, std::string>>& layers);
  // The norm of h, a point and a site, after h += branch.
  at::Tensor add_and_norm(at::Tensor& h, const at::Tensor& branch, const std::string& sum,
                          const at::Tensor& weight, const std::string& name);
  bool recomputes() const {
    return model_.recompute() && observer_ == nullptr && cache_ == nullptr;
  }
  at::Tensor point(const std::string& name, const at::Tensor& value);
  void site(const std::string& name, const at::Tensor& value);

  // A router over history slots; `slot` −1 leaves the result outside the history.
  at::Tensor route(const Router& router, const std::string& name, const std::string& label,
                   int64_t slot, const std::vector<int64_t>& sources);
  at::Tensor route_with_points(const Router& router, const std::string& name, int64_t slot,
                               const std::vector<int64_t>& sources, at::Tensor& weights);
  void append(int64_t slot, const at::Tensor& value, const SourceLayers& layers,
              const at::Tensor& psi);
  void append_sum(int64_t slot, const at::Tensor& a, const at::Tensor& b,
                  const SourceLayers& layers, const at::Tensor& psi);
  // h + a sublayer's output, whose last product is `last`.
  void append_residual(int64_t slot, const at::Tensor& h, const at::Tensor& output,
                       const Linear& last, int64_t layer, const at::Tensor& psi);
  void share_null(int64_t slot, int64_t with);  // as DepthHistory::share_null
  void prepare_routers();                       // fills router_terms_
  DepthLine recency(size_t sources) const;
  at::Tensor nulls(const std::vector<int64_t>& sources);  // [n, M] or undefined
  at::Tensor sequences(const at::Tensor& rows) const;     // [M, …] as [B, T, …]

  const Decoder& model_;
  const ModelConfig& config_;
  at::Tensor tokens_;
  ForwardObserver* observer_;
  const CacheUse* cache_;
  int64_t batch_, length_;
  int64_t context_;  // positions that the sequences may come to have: T, or what the cache holds
  bool explicit_points_;
  std::vector<double> rope_divisors_;

  // What follows from a router's parameters alone, worked out for all routers together: tensors
  // this small cost a launch and no more.
  struct RouterTerms {
    at::Tensor direction;  // [D], pseudo-query and block forms
    at::Tensor beta;       // [1], with coupling
    int64_t index = 0;     // in the bank
  };
  std::unordered_map<const Router*, RouterTerms> router_terms_;
  std::unique_ptr<RouterBank> bank_;  // projected form

  // Depth history: values by slot, with the layers and the branch null each belongs to.
  std::unique_ptr<DepthHistory> history_;
  std::vector<at::Tensor> values_;    // [M, D], part of the autograd graph
  std::vector<at::Tensor> psi_;       // [M] or undefined
  std::vector<SourceLayers> layers_;  // as ForwardObserver::depth_weights names them
};

}  // namespace oasis
