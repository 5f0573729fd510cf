#include "suites/cell_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

#include "support/error.h"

namespace oasis {
namespace {

std::filesystem::path lock_file(const std::filesystem::path& folder) {
  return folder / "lock";
}

std::string this_holder() {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  return fmt::format("process {} on {}", ::getpid(), host.data());
}

}  // namespace

std::optional<CellLock> CellLock::try_take(const std::filesystem::path& cell_folder) {
  std::error_code error;
  std::filesystem::create_directories(cell_folder, error);
  if (error) {
    throw bad_input("{}: cannot be made: {}; choose a writable folder with --out",
                    cell_folder.string(), error.message());
  }
  const std::filesystem::path path = lock_file(cell_folder);
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor < 0) {
    throw bad_input("{}: cannot be opened: {}; choose a writable folder with --out", path.string(),
                    std::strerror(errno));
  }
  CellLock lock(descriptor);
  if (::flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return std::nullopt;
    throw failed("{}: cannot be locked: {}", path.string(), std::strerror(errno));
  }
  const std::string name = this_holder();
  // Only a hint for messages: a full disk must not keep a cell from being resumed.
  if (::ftruncate(descriptor, 0) == 0) {
    [[maybe_unused]] const ssize_t written = ::write(descriptor, name.data(), name.size());
  }
  return lock;
}

std::string CellLock::holder(const std::filesystem::path& cell_folder) {
  std::ifstream file(lock_file(cell_folder));
  std::string name;
  std::getline(file, name);
  return name.empty() ? "another process" : name;
}

CellLock::CellLock(CellLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}

CellLock::~CellLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

}  // namespace oasis
