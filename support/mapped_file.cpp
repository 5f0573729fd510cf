#include "support/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "support/error.h"

namespace oasis {

MappedFile::MappedFile(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    throw bad_input("{}: cannot be read: {}", path.string(), std::strerror(errno));
  }
  struct stat status = {};
  if (::fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(descriptor);
    throw bad_input("{}: cannot be read: not a regular file", path.string());
  }
  size_ = static_cast<std::size_t>(status.st_size);
  void* mapped = nullptr;
  if (size_ > 0) {
    mapped = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE, descriptor, 0);
  }
  const int cause = errno;
  ::close(descriptor);
  if (mapped == MAP_FAILED) {
    throw failed("{}: cannot be mapped: {}", path.string(), std::strerror(cause));
  }
  data_ = static_cast<char*>(mapped);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

}  // namespace oasis
