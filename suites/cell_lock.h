// One process at a time works on a cell's folder. The lock ends with the process, however it ends.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace oasis {

class CellLock {
 public:
  // Empty when another process holds it. Makes the folder. Throws Error (bad input) when the folder
  // cannot be written.
  static std::optional<CellLock> try_take(const std::filesystem::path& cell_folder);

  // "process 123 on host": who holds the lock, as far as it said.
  static std::string holder(const std::filesystem::path& cell_folder);

  CellLock(CellLock&& other) noexcept;
  CellLock& operator=(CellLock&&) = delete;
  ~CellLock();

 private:
  explicit CellLock(int descriptor) : descriptor_(descriptor) {}
  int descriptor_ = -1;
};

}  // namespace oasis
