// Whole lines of a file, streamed: memory is bounded by what is asked for, not by the file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace oasis {

class ByteSource;  // the file's bytes, as they are or decompressed

class LineReader {
 public:
  // A name that ends with .zst: Zstandard with windows up to 2^27; several frames may follow each
  // other. Throws Error (bad input) when the file is not there or cannot be read; take() does so
  // when it is damaged, too.
  explicit LineReader(const std::filesystem::path& file);
  ~LineReader();
  LineReader(LineReader&&) noexcept;
  LineReader& operator=(LineReader&&) noexcept;

  // At least `wanted` bytes of whole lines, newlines included, when there are so many; 0: one line.
  // The last line of the file may lack its newline. Empty at the end. Valid until the next call.
  std::string_view take(std::size_t wanted);

  const std::filesystem::path& path() const;
  std::uint64_t line() const { return line_; }  // number of the last line taken, from 1
  std::uint64_t position() const;               // bytes of the file consumed, for progress

 private:
  std::unique_ptr<ByteSource> source_;
  std::string buffer_;
  std::size_t start_ = 0;  // of the lines taken last
  std::size_t end_ = 0;
  std::uint64_t line_ = 0;
};

}  // namespace oasis
