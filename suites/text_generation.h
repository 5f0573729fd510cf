// Texts that a model generates for prompts: tokens in, text out, one prompt or thousands.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "datasets/tokenizer.h"
#include "models/generation/generator.h"
#include "models/quantization.h"
#include "suites/generated_text.h"
#include "suites/plan.h"

namespace oasis {

// A model where and in the type in which it generates: bare, or quantized in simulation (then in
// float32, since ranges and scales are).
class GenerationModel {
 public:
  // `model` in float32 on any device. `type`: of the matrices.
  GenerationModel(const Decoder& model, at::ScalarType type, at::Device device);
  explicit GenerationModel(std::shared_ptr<QuantizedModel> quantized);

  const Decoder& decoder() const;
  ForwardObserver* observer() const;  // null for none

 private:
  std::unique_ptr<Decoder> plain_;
  std::shared_ptr<QuantizedModel> quantized_;
};

// Texts at a time where nothing else is asked for.
std::int64_t default_batch(const RunDevice& device);

// Called with a further piece of the text of prompts[i], characters whole (GeneratedText::take).
using PieceSink = std::function<void(size_t prompt, std::string_view piece)>;
// Called when the text of prompts[i] has ended; in the order in which they end.
using TextSink = std::function<void(size_t prompt, const GeneratedText& text)>;

struct TextGeneration {
  GenerationOptions options;
  std::vector<std::string> stops = {};
  std::function<bool()> interrupted = nullptr;  // asked at every token
};

// False when it was interrupted: the texts told of until then are whole. Where the tokenizer has
// fewer ids than the model has rows, a token beyond them adds no text.
bool generate_texts(const GenerationModel& model, const Tokenizer& tokenizer,
                    const std::vector<Prompt>& prompts, const TextGeneration& how,
                    const TextSink& ended, const PieceSink& piece = nullptr);

// Cuts a prompt on the left to what the model's max_position_embeddings leave beside the new
// tokens; how many tokens were cut. Throws Error (bad input) when nothing would be left.
std::int64_t fit_prompt(Prompt& prompt, const ModelConfig& config, std::int64_t max_new_tokens);

}  // namespace oasis
