// Continues prompts token by token: prefill and decode over a key-value cache, many sequences at a
// time.
//
// Sequences are independent: what one becomes does not depend on the others, nor (beyond rounding)
// on how many run at a time. Prompts are taken longest first; when a sequence ends, the next prompt
// takes its place. On the GPU a decode step is one CUDA graph over all places, recorded once; the
// device feeds itself its tokens, and the host reads them every few steps, so that a sequence may
// run a few steps past its end, which nobody sees.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "kernels/sample_token/sample_token.h"
#include "models/decoder.h"
#include "models/forward_observer.h"

namespace oasis {

struct GenerationOptions {
  SamplingSpec sampling = {};     // streams are the prompts' numbers, in the order given
  int64_t max_new_tokens = 256;   // of a sequence
  int64_t batch = 1;              // sequences at a time; halved while the GPU's memory is too small
  int64_t prefill_tokens = 8192;  // positions in one prefill pass, one prompt at least
  int64_t steps_per_read = 8;     // GPU: decode steps between two looks at the tokens
  bool cuda_graph = true;
};

using Prompt = std::vector<uint32_t>;

// Called with each new token of prompts[i], in order; returns whether the sequence goes on.
using TokenSink = std::function<bool(size_t prompt, uint32_t token)>;

class Generator {
 public:
  // The model in the type and on the device that generation runs in (inference_weights.h makes the
  // fastest of them); it must outlive the generator. `observer`: the quantizer of a QuantizedModel,
  // null for none.
  Generator(const Decoder& model, const GenerationOptions& options,
            ForwardObserver* observer = nullptr);
  ~Generator();

  // Every prompt must hold a token of the model's vocabulary or more. Prompt and new tokens
  // together may be longer than the model was trained for: it is for the caller to cut prompts
  // (max_position_embeddings). LongRoPE's factors are those of the longest that a sequence may
  // become, prompt and max_new_tokens, and hold for all of it. Throws Error: bad input for an
  // empty prompt or a token outside the vocabulary, failed when logits are not a number.
  void generate(const std::vector<Prompt>& prompts, const TokenSink& sink);

  // Of the last call: decode steps made, and sequences at a time.
  int64_t steps() const { return steps_; }
  int64_t batch() const { return batch_; }

 private:
  class Session;
  void run(const std::vector<Prompt>& prompts, std::vector<size_t> order, const TokenSink& sink);

  const Decoder& model_;
  GenerationOptions options_;
  ForwardObserver* observer_;
  int64_t steps_ = 0, batch_ = 0;
};

}  // namespace oasis
