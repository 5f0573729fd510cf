// A file in memory without reading it: pages come in as they are touched.
#pragma once

#include <cstddef>
#include <filesystem>

namespace oasis {

// Mapped privately: what is written to the memory stays in this process, and a file that is renamed
// over this one changes nothing.
class MappedFile {
 public:
  // Throws Error: bad input when the file cannot be read.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  char* data() { return data_; }  // nullptr when the file is empty
  std::size_t size() const { return size_; }

 private:
  char* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace oasis
