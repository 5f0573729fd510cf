#include "suites/commands/generate_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "datasets/json_lines.h"
#include "suites/generation_flags.h"
#include "support/error.h"
#include "support/progress_line.h"

namespace oasis {
namespace {

using OrderedJson = nlohmann::ordered_json;

struct GenerateArguments {
  GenerationFlags flags;
  SamplingSpec sampling;
  std::vector<std::string> prompts, stops;
  std::filesystem::path prompts_file;
  bool json = false;
};

std::vector<std::string> read_prompts(const std::filesystem::path& file) {
  JsonLines lines(file);
  std::vector<std::string> prompts;
  nlohmann::json value;
  while (lines.next(value)) prompts.push_back(lines.take_text(value, "prompt"));
  if (prompts.empty()) throw bad_input("{}: no prompt", file.string());
  return prompts;
}

const char* reason(const GeneratedText& text) {
  switch (text.end()) {
    case GeneratedText::End::kEndOfText:
      return "end_of_text";
    case GeneratedText::End::kStop:
      return "stop";
    case GeneratedText::End::kNone:
      break;
  }
  return "length";
}

// A line that can be written whole; what a closed pipe lost is told.
void print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    throw failed("standard output cannot be written");
  }
}

void run(const GenerateArguments& arguments) {
  const bool streams = arguments.prompts.size() == 1 && !arguments.json;
  const auto texts =
      arguments.prompts.empty() ? read_prompts(arguments.prompts_file) : arguments.prompts;
  const auto device = arguments.flags.choose();
  const GenerationCheckpoint checkpoint(arguments.flags, device);
  const auto& config = checkpoint.model.decoder().config();

  ProgressLine progress(stderr);
  std::vector<Prompt> prompts(texts.size());
  std::int64_t cut = 0;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    checkpoint.tokenizer->encode_with_special_tokens(texts[i], prompts[i]);
    if (prompts[i].empty()) prompts[i].push_back(checkpoint.tokenizer->end_of_text());
    cut += fit_prompt(prompts[i], config, arguments.flags.max_new_tokens) > 0 ? 1 : 0;
  }
  if (cut > 0) {
    progress.message(fmt::format(
        "{} of {} prompts were cut on the left: with {} new tokens they do not fit in the model's "
        "max_position_embeddings = {}",
        cut, prompts.size(), arguments.flags.max_new_tokens, config.max_position_embeddings));
  }

  auto options = arguments.flags.options(device);
  options.sampling = arguments.sampling;
  if (streams) options.steps_per_read = 1;
  const auto began = std::chrono::steady_clock::now();
  std::int64_t made = 0;
  std::size_t done = 0;
  std::vector<std::string> lines(prompts.size());  // printed in the prompts' order
  if (!streams) progress.begin("generating", 0, static_cast<double>(prompts.size()), "texts");
  const auto ended = [&](std::size_t i, const GeneratedText& text) {
    made += text.tokens();
    if (streams) return;
    if (arguments.json || arguments.prompts.empty()) {
      const OrderedJson line = {{"index", i},
                                {"text", valid_utf8(text.text())},
                                {"tokens", text.tokens()},
                                {"prompt_tokens", prompts[i].size()},
                                {"end", reason(text)}};
      lines[i] = line.dump() + "\n";
    } else {
      lines[i] = valid_utf8(text.text()) + "\n";
    }
    progress.update(static_cast<double>(++done), fmt::format("{} tokens", made));
  };
  const auto show = [](std::size_t, std::string_view piece) {
    if (!piece.empty()) print(valid_utf8(piece));
  };
  generate_texts(checkpoint.model, *checkpoint.tokenizer, prompts,
                 {.options = options, .stops = arguments.stops}, ended,
                 streams ? PieceSink(show) : nullptr);
  if (streams) {
    print("\n");
  } else {
    progress.end();
    for (const auto& line : lines) print(line);
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - began;
  progress.message(fmt::format("{} tokens in {:.2f} s, {:.1f} tokens/s", made, seconds.count(),
                               static_cast<double>(made) / seconds.count()));
}

}  // namespace

void add_generate_command(CLI::App& app) {
  const auto arguments = std::make_shared<GenerateArguments>();
  auto* command = app.add_subcommand(
      "generate",
      "Continue prompts with a checkpoint. One prompt's text is shown as it is made; a file of "
      "prompts gives a line of JSON each: index, text, tokens, prompt_tokens, end");
  arguments->flags.add_to(*command);
  auto* from = command->add_option_group("prompts")->require_option(1);
  from->add_option("--prompt", arguments->prompts, "Text to continue; may be given several times")
      ->allow_extra_args(false);
  from->add_option("--prompts", arguments->prompts_file,
                   "File with an object each line, .jsonl or .jsonl.zst; field prompt");
  command
      ->add_option("--temperature", arguments->sampling.temperature,
                   "Draw from the softmax of logits / temperature; 0: always the likeliest")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  command
      ->add_option("--top-k", arguments->sampling.top_k,
                   "Draw from the k likeliest tokens only; 0: from all")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 30))
      ->capture_default_str();
  command
      ->add_option("--top-p", arguments->sampling.top_p,
                   "Draw from the smallest set of likeliest tokens that has this probability")
      ->check(CLI::Range(1e-9, 1.0))
      ->capture_default_str();
  command->add_option("--seed", arguments->sampling.seed, "Of the draws")->capture_default_str();
  command
      ->add_option("--stop", arguments->stops,
                   "Text that ends a text, itself left out; may be given several times")
      ->allow_extra_args(false);
  command->add_flag("--json", arguments->json, "A line of JSON each for --prompt, too");
  command->callback([arguments] { run(*arguments); });
}

}  // namespace oasis
