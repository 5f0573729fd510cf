#include "suites/commands/tokenize_command.h"

#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "datasets/hugging_face/hugging_face_tokenizer.h"
#include "datasets/tokenizer.h"
#include "support/error.h"

namespace oasis {
namespace {

struct TokenizeArguments {
  std::filesystem::path tokenizer;
  std::string file;
  bool decode = false, json_lines = false, special_tokens = false;
};

// A line of the input: its text, and where it stands for messages.
struct Line {
  std::string text;
  std::string where;
};

nlohmann::json parse_line(const Line& line, const char* wanted) {
  auto json = nlohmann::json::parse(line.text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) throw bad_input("{}: not valid JSON; {} is needed", line.where, wanted);
  return json;
}

std::string encoded(const Tokenizer& tokenizer, const Line& line,
                    const TokenizeArguments& arguments) {
  std::string from_json;
  if (arguments.json_lines) {
    const auto json = parse_line(line, "a string");
    if (!json.is_string()) {
      throw bad_input("{}: must be a JSON string, not {}", line.where, json.type_name());
    }
    from_json = json.get<std::string>();
  }
  const auto& text = arguments.json_lines ? from_json : line.text;
  std::vector<std::uint32_t> ids;
  if (arguments.special_tokens) {
    tokenizer.encode_with_special_tokens(text, ids);
  } else {
    tokenizer.encode(text, ids);
  }
  return fmt::format("[{}]", fmt::join(ids, ","));
}

std::string decoded(const Tokenizer& tokenizer, const Line& line) {
  const auto json = parse_line(line, "an array of token ids");
  if (!json.is_array()) {
    throw bad_input("{}: must be an array of token ids, not {}", line.where, json.type_name());
  }
  std::vector<std::uint32_t> ids;
  for (const auto& id : json) {
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() >= tokenizer.vocab_size()) {
      throw bad_input("{}: {} is not a token id (0 to {})", line.where, id.dump(),
                      tokenizer.vocab_size() - 1);
    }
    ids.push_back(id.get<std::uint32_t>());
  }
  // A token may be part of a character: what is not UTF-8 becomes U+FFFD.
  return nlohmann::json(tokenizer.decode(ids))
      .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void run(const TokenizeArguments& arguments) {
  const auto tokenizer = std::filesystem::is_regular_file(arguments.tokenizer)
                             ? load_hugging_face(arguments.tokenizer)
                             : load_tokenizer(arguments.tokenizer);
  const bool from_stdin = arguments.file == "-";
  std::ifstream file;
  if (!from_stdin) {
    file.open(arguments.file, std::ios::binary);
    if (!file || std::filesystem::is_directory(arguments.file)) {
      throw bad_input("{}: cannot be read", arguments.file);
    }
  }
  std::istream& input = from_stdin ? std::cin : file;
  Line line;
  for (std::size_t number = 1; std::getline(input, line.text); ++number) {
    line.where = fmt::format("{}: line {}", arguments.file, number);
    fmt::print("{}\n",
               arguments.decode ? decoded(*tokenizer, line) : encoded(*tokenizer, line, arguments));
  }
}

}  // namespace

void add_tokenize_command(CLI::App& app) {
  const auto arguments = std::make_shared<TokenizeArguments>();
  auto* command = app.add_subcommand(
      "tokenize", "Token ids of each line of a text file, as JSON arrays, and back");
  command
      ->add_option("--tokenizer", arguments->tokenizer,
                   "A tokenizer.json, or the folder of a tokenizer or checkpoint")
      ->required();
  command->add_option("file", arguments->file, "File to read; - for standard input")->required();
  auto* decode = command->add_flag("--decode", arguments->decode,
                                   "Read arrays of ids, print their text as JSON strings");
  command
      ->add_flag("--json-lines", arguments->json_lines,
                 "Each line is a JSON string, which may hold newlines")
      ->excludes(decode);
  command
      ->add_flag("--add-special-tokens", arguments->special_tokens,
                 "With what the tokenizer puts round a text (BOS, EOS)")
      ->excludes(decode);
  command->callback([arguments] { run(*arguments); });
}

}  // namespace oasis
