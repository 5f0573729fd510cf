#include "datasets/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "support/error.h"

namespace oasis {

FileLock::FileLock(const std::filesystem::path& file) {
  const auto folder = file.parent_path();
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (!error) descriptor_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor_ < 0) {
    throw bad_input(
        "{}: cannot be written: {}; choose another folder (OASIS_CACHE_HOME for what is made, "
        "--data-home for what is fetched)",
        folder.string(), error ? error.message() : std::strerror(errno));
  }
  while (::flock(descriptor_, LOCK_EX) != 0) {
    if (errno == EINTR) continue;
    const int cause = errno;
    ::close(descriptor_);
    throw failed("{}: cannot be locked: {}", file.string(), std::strerror(cause));
  }
}

FileLock::~FileLock() {
  ::close(descriptor_);
}

}  // namespace oasis
