// Text documents from files, streamed: memory is bounded by one document, not by the file.
//
//   .txt, .raw  one document, given out in pieces of whole lines
//   .jsonl      one document a line: field "text", or "question" and "answer" (GSM8K), which become
//               "Question: …\nAnswer: …"
//   .jsonl.zst  the same, Zstandard with windows up to 2^27; several frames may follow each other
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

namespace oasis {

// A document or, for .txt, a run of whole lines of it.
struct TextPiece {
  std::string text;
  bool ends_document = true;
};

class DocumentReader {
 public:
  virtual ~DocumentReader() = default;
  // False at the end. Throws Error (bad input) naming file and line.
  virtual bool next(TextPiece& piece) = 0;
  // Bytes of the file consumed so far, for progress.
  virtual std::uint64_t position() const = 0;
};

// How to make .jsonl files of .parquet files, for a message. `files` goes to the shell as it is: it
// may be a pattern.
std::string parquet_conversion(const std::string& files);

// Throws Error (bad input) when the file cannot be read or its extension is not known.
std::unique_ptr<DocumentReader> open_documents(const std::filesystem::path& file);

}  // namespace oasis
