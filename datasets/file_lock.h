// One process at a time makes a cached thing; the others wait and then find it made.
#pragma once

#include <filesystem>

namespace oasis {

class FileLock {
 public:
  // Creates the file and its folder if needed and waits for the lock (flock, so it ends with the
  // process however that ends). Throws Error (bad input) when the folder cannot be written.
  explicit FileLock(const std::filesystem::path& file);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int descriptor_ = -1;
};

}  // namespace oasis
