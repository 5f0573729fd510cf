#include "models/generation/key_value_cache.h"

#include <ATen/ops/zeros.h>

namespace oasis {

// Zeros, because explicit scores multiply what has not been written by a weight of 0.
KeyValueCache::KeyValueCache(const ModelConfig& config, int64_t sequences, int64_t context,
                             const at::TensorOptions& options)
    : buffer_(at::zeros({config.num_hidden_layers, 2, sequences, config.num_key_value_heads,
                         context, config.head_dim},
                        options)) {}

std::pair<at::Tensor, at::Tensor> KeyValueCache::of_layer(int64_t layer, int64_t sequences) const {
  const auto both = buffer_.select(0, layer).narrow(1, 0, sequences);
  return {both.select(0, 0), both.select(0, 1)};
}

void KeyValueCache::store(int64_t layer, const at::Tensor& rows, const at::Tensor& k,
                          const at::Tensor& v) const {
  const auto both = buffer_.select(0, layer).narrow(3, 0, k.size(2));
  both.select(0, 0).index_copy_(0, rows, k);
  both.select(0, 1).index_copy_(0, rows, v);
}

void KeyValueCache::copy_sequence(int64_t from, int64_t to, int64_t length) const {
  const auto used = buffer_.narrow(4, 0, length);
  used.select(2, to).copy_(used.select(2, from));
}

}  // namespace oasis
