// Times a Hugging Face tokenizer on one thread and prints JSON: of each round the processor's
// seconds to encode every text of a file (one JSON string a line), and the count of tokens.
// tests/python/bench_tokenizer.py sets it beside the Python package `tokenizers`.
#include <CLI/CLI.hpp>
#include <ctime>
#include <exception>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "datasets/hugging_face/hugging_face_tokenizer.h"

int main(int argc, char** argv) try {
  CLI::App app("Times a tokenizer");
  std::string path, texts_file;
  int rounds = 5;
  app.add_option("--tokenizer", path)->required();
  app.add_option("--texts", texts_file)->required();
  app.add_option("--rounds", rounds);
  CLI11_PARSE(app, argc, argv);

  const auto tokenizer = oasis::load_hugging_face(path);
  std::vector<std::string> texts;
  std::ifstream file(texts_file);
  for (std::string line; std::getline(file, line);) {
    texts.push_back(nlohmann::json::parse(line).get<std::string>());
  }
  std::vector<double> seconds;
  std::size_t tokens = 0;
  for (int round = 0; round < rounds; ++round) {
    // As a caller keeps them: each text's ids in a vector of their own.
    std::vector<std::vector<std::uint32_t>> ids(texts.size());
    const auto start = std::clock();
    for (std::size_t i = 0; i < texts.size(); ++i) tokenizer->encode(texts[i], ids[i]);
    seconds.push_back(static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
    tokens = 0;
    for (const auto& each : ids) tokens += each.size();
  }
  std::cout << nlohmann::json{{"seconds", seconds}, {"tokens", tokens}} << "\n";
  return 0;
} catch (const std::exception& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
