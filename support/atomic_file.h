// A file that appears whole or not at all: written beside its target, flushed to disk, renamed.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string_view>

namespace oasis {

class AtomicFile {
 public:
  // Creates the temporary file. Throws Error (bad input) when the folder cannot be written.
  explicit AtomicFile(std::filesystem::path target);
  ~AtomicFile();  // removes the temporary file unless commit() succeeded
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  // Throws Error naming the file and the cause: disk full, else failed.
  void write(const void* data, std::size_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  void commit();  // fsync, rename over the target, fsync of the folder

 private:
  std::filesystem::path target_;
  std::filesystem::path temporary_;
  int descriptor_ = -1;
};

void write_file_atomically(const std::filesystem::path& target, std::string_view contents);

}  // namespace oasis
