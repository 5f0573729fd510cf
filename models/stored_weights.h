// How a checkpoint stores a decoder's parameters.
//
// Under the decoder's own names, except that Phi-3 stacks the rows of q, k and v as
// self_attn.qkv_proj and those of gate and up as mlp.gate_up_proj. The decoder keeps them apart
// everywhere: each is quantized with a range of its own (PROTOCOLS.md, Quantization).
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

#include "models/decoder.h"

namespace oasis {

struct StoredWeight {
  std::string name;
  std::vector<at::Tensor> parts;  // the decoder's own parameters, from the first row down

  std::vector<int64_t> sizes() const;
  // One tensor of the stored shape from a tensor for each part.
  at::Tensor stack(const std::function<at::Tensor(const at::Tensor&)>& value_of) const;
  // Copies a tensor of the stored shape into the parts.
  void assign(const at::Tensor& stored) const;
};

std::vector<StoredWeight> stored_weights(const Decoder& model);

}  // namespace oasis
