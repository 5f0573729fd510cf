#include "support/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "support/error.h"

namespace oasis {

namespace {

// Of a write that failed with errno.
Error not_written(const std::filesystem::path& target, const char* step) {
  constexpr const char* kKept = "the previous version, if any, is untouched";
  if (says_disk_full(errno)) return disk_full(target.string(), kKept);
  return failed("{}: {} failed: {}; {}", target.string(), step, std::strerror(errno), kKept);
}

}  // namespace

AtomicFile::AtomicFile(std::filesystem::path target) : target_(std::move(target)) {
  temporary_ = target_;
  temporary_ += fmt::format(".{}.part", ::getpid());
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor_ < 0) {
    throw bad_input("{}: cannot be written: {}; choose a writable folder", target_.string(),
                    std::strerror(errno));
  }
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::write(const void* data, std::size_t bytes) {
  const char* next = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t written = ::write(descriptor_, next, bytes);
    if (written < 0) {
      if (errno == EINTR) continue;
      throw not_written(target_, "writing");
    }
    next += written;
    bytes -= static_cast<std::size_t>(written);
  }
}

void AtomicFile::commit() {
  const auto check = [this](bool ok, const char* step) {
    if (!ok) throw not_written(target_, step);
  };
  check(::fsync(descriptor_) == 0, "flushing to disk");
  check(::close(std::exchange(descriptor_, -1)) == 0, "closing");
  check(::rename(temporary_.c_str(), target_.c_str()) == 0, "renaming into place");
  temporary_.clear();
  const auto folder = target_.has_parent_path() ? target_.parent_path() : ".";
  const int handle = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (handle >= 0) {
    ::fsync(handle);  // best effort: the rename is already atomic
    ::close(handle);
  }
}

void write_file_atomically(const std::filesystem::path& target, std::string_view contents) {
  AtomicFile file(target);
  file.write(contents);
  file.commit();
}

}  // namespace oasis
