// Keys and values of the positions that a decoder has seen, for generating on from them.
//
// Shapes: S sequences of different lengths, C positions at most, L layers, Hkv key heads of size d.
// A layer's keys and values are [S, Hkv, C, d] each, in one buffer for all layers. Query heads that
// share a key head read it where it lies.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>

#include "models/model_config.h"

namespace oasis {

class KeyValueCache {
 public:
  // `context`: C, the prompt and all that is generated.
  KeyValueCache(const ModelConfig& config, int64_t sequences, int64_t context,
                const at::TensorOptions& options);

  int64_t sequences() const { return buffer_.size(2); }
  int64_t context() const { return buffer_.size(4); }

  // One layer's keys and values of the first `sequences`, [sequences, Hkv, C, d]: views.
  std::pair<at::Tensor, at::Tensor> of_layer(int64_t layer, int64_t sequences) const;
  // Keys and values [B, Hkv, T, d] of positions 0 … T − 1 of the sequences `rows` (int64 [B]).
  void store(int64_t layer, const at::Tensor& rows, const at::Tensor& k, const at::Tensor& v) const;
  // Sequence `to` becomes what sequence `from` is up to `length`.
  void copy_sequence(int64_t from, int64_t to, int64_t length) const;

 private:
  at::Tensor buffer_;  // [L, 2, S, Hkv, C, d]
};

// What one forward pass does with a cache.
struct CacheUse {
  const KeyValueCache& cache;
  // Prefill: tokens [B, T] are positions 0 … T − 1 of the sequences `rows` (int64 [B], on the
  // device). Shorter ones are padded on the right: what stands there is computed and not read.
  at::Tensor rows{};
  // Decode: tokens [B, 1] are the positions `positions` (int64 [B], on the device) of the first B
  // sequences.
  at::Tensor positions{};

  bool decodes() const { return positions.defined(); }
};

}  // namespace oasis
