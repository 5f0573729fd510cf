#include "datasets/documents.h"

#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "datasets/json_lines.h"
#include "datasets/line_reader.h"
#include "support/error.h"

namespace oasis {
namespace {

constexpr std::size_t kPieceBytes = std::size_t{1} << 20;

class TextReader : public DocumentReader {
 public:
  explicit TextReader(const std::filesystem::path& file) : lines_(file) {
    next_ = lines_.take(kPieceBytes);
    if (next_.empty()) throw bad_input("{}: is empty; replace the file", file.string());
  }

  bool next(TextPiece& piece) override {
    if (next_.empty()) return false;
    piece.text = std::move(next_);
    next_ = lines_.take(kPieceBytes);
    piece.ends_document = next_.empty();
    return true;
  }

  std::uint64_t position() const override { return lines_.position(); }

 private:
  LineReader lines_;
  std::string next_;
};

class JsonLinesReader : public DocumentReader {
 public:
  explicit JsonLinesReader(const std::filesystem::path& file) : lines_(file) {}

  bool next(TextPiece& piece) override {
    nlohmann::json json;
    if (!lines_.next(json)) return false;
    if (json.is_object() && json.contains("text")) {
      piece.text = lines_.take_text(json, "text");
    } else if (json.is_object() && json.contains("question") && json.contains("answer")) {
      piece.text = fmt::format("Question: {}\nAnswer: {}", lines_.take_text(json, "question"),
                               lines_.take_text(json, "answer"));
    } else {
      throw bad_input(
          "{} has no field 'text' (nor 'question' and 'answer'); each line must be an object with "
          "one of these",
          lines_.where());
    }
    piece.ends_document = true;
    return true;
  }

  std::uint64_t position() const override { return lines_.position(); }

 private:
  JsonLines lines_;
};

}  // namespace

std::string parquet_conversion(const std::string& files) {
  return fmt::format(
      "convert with, in the checkout: .venv/bin/python -m pip install -r "
      "scripts/requirements-parquet.txt && .venv/bin/python scripts/parquet_to_jsonl.py {}",
      files);
}

std::unique_ptr<DocumentReader> open_documents(const std::filesystem::path& file) {
  const std::string name = file.filename().string();
  if (name.ends_with(".txt") || name.ends_with(".raw")) {
    return std::make_unique<TextReader>(file);
  }
  if (name.ends_with(".jsonl") || name.ends_with(".jsonl.zst")) {
    return std::make_unique<JsonLinesReader>(file);
  }
  if (name.ends_with(".parquet")) {
    throw bad_input("{}: Parquet files are not read; {}, and name the .jsonl file", file.string(),
                    parquet_conversion(fmt::format("\"{}\"", file.string())));
  }
  throw bad_input("{}: unknown kind of data file; known: .txt, .raw, .jsonl, .jsonl.zst",
                  file.string());
}

}  // namespace oasis
