#include "suites/text_generation.h"

#include <utility>

#include "datasets/gsm8k/prompts.h"
#include "models/generation/inference_weights.h"
#include "support/error.h"

namespace oasis {

GenerationModel::GenerationModel(const Decoder& model, at::ScalarType type, at::Device device)
    : plain_(std::make_unique<Decoder>(inference_weights(model, type, device))) {}

GenerationModel::GenerationModel(std::shared_ptr<QuantizedModel> quantized)
    : quantized_(std::move(quantized)) {}

const Decoder& GenerationModel::decoder() const {
  return quantized_ ? quantized_->model() : *plain_;
}

ForwardObserver* GenerationModel::observer() const {
  return quantized_ ? &quantized_->observer() : nullptr;
}

std::int64_t default_batch(const RunDevice& device) {
  return device.type == "cuda" ? 256 : 8;
}

bool generate_texts(const GenerationModel& model, const Tokenizer& tokenizer,
                    const std::vector<Prompt>& prompts, const TextGeneration& how,
                    const TextSink& ended, const PieceSink& piece) {
  struct Interrupted {};
  const TextEnd end(tokenizer, how.stops);
  std::vector<GeneratedText> texts(prompts.size(), GeneratedText(tokenizer, end));
  const auto take = [&](size_t i, uint32_t token) {
    if (how.interrupted && how.interrupted()) throw Interrupted();
    auto& text = texts[i];
    const bool goes_on = text.add(token);
    const bool last = !goes_on || text.tokens() == how.options.max_new_tokens;
    if (piece) piece(i, text.take(last));
    if (last) {
      ended(i, text);
      text = GeneratedText(tokenizer, end);  // its memory
    }
    return goes_on;
  };
  try {
    Generator(model.decoder(), how.options, model.observer()).generate(prompts, take);
  } catch (const Interrupted&) {
    return false;
  }
  return true;
}

std::int64_t fit_prompt(Prompt& prompt, const ModelConfig& config, std::int64_t max_new_tokens) {
  const auto before = std::ssize(prompt);
  gsm8k::fit_context(prompt, config.max_position_embeddings, max_new_tokens);
  return before - std::ssize(prompt);
}

}  // namespace oasis
