#include "datasets/shards.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "datasets/json_fields.h"
#include "support/error.h"
#include "support/sha256.h"

namespace oasis {

static_assert(std::endian::native == std::endian::little, "shards are mapped as they lie on disk");

struct TokenSplit::Mapping {
  Mapping(const std::filesystem::path& path, std::uint64_t expected_bytes) : path(path) {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
      throw bad_input("{}: cannot be read: {}; remove the folder, it is made again", path.string(),
                      std::strerror(errno));
    }
    struct stat status = {};
    const bool known = ::fstat(descriptor, &status) == 0;
    if (!known || static_cast<std::uint64_t>(status.st_size) != expected_bytes) {
      ::close(descriptor);
      throw bad_input(
          "{}: damaged: {} bytes where its sidecar says {}; remove the folder, it is made again",
          path.string(), known ? status.st_size : -1, expected_bytes);
    }
    bytes = expected_bytes;
    if (bytes > 0) data = ::mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, descriptor, 0);
    const int cause = errno;
    ::close(descriptor);
    if (data == MAP_FAILED) {
      data = nullptr;
      throw failed("{}: cannot be mapped: {}", path.string(), std::strerror(cause));
    }
  }
  ~Mapping() {
    if (data != nullptr) ::munmap(data, bytes);
  }
  Mapping(Mapping&& other) noexcept
      : path(std::move(other.path)), data(std::exchange(other.data, nullptr)), bytes(other.bytes) {}

  std::filesystem::path path;
  void* data = nullptr;
  std::uint64_t bytes = 0;
};

TokenSplit::TokenSplit(std::filesystem::path folder) : folder_(std::move(folder)) {
  const auto file = folder_ / kSidecarFile;
  std::ifstream stream(file, std::ios::binary);
  if (!stream) {
    throw bad_input("{}: cannot be read; remove the folder, it is made again", file.string());
  }
  std::stringstream text;
  text << stream.rdbuf();
  info_ = parse_split_info(text.str(), file);
  for (const auto& shard : info_.shards) {
    mappings_.emplace_back(folder_ / shard.file, shard.tokens * info_.bytes_per_token());
  }
}

TokenSplit::~TokenSplit() = default;

void TokenSplit::verify() const {
  for (std::size_t i = 0; i < mappings_.size(); ++i) {
    const auto& mapping = mappings_[i];
    const auto hash =
        sha256_hex(std::string_view(static_cast<const char*>(mapping.data), mapping.bytes));
    if (hash != info_.shards[i].sha256) {
      throw bad_input(
          "{}: damaged: its SHA-256 is {} where its sidecar says {}; remove the folder, it is made "
          "again",
          mapping.path.string(), hash, info_.shards[i].sha256);
    }
  }
}

template <typename Out>
void TokenSplit::read_as(std::uint64_t offset, std::span<Out> out) const {
  if (offset > size() || out.size() > size() - offset) {
    throw failed("{}/{}: tokens {} to {} were asked for, but there are {}", info_.dataset,
                 info_.split, offset, offset + out.size(), size());
  }
  const auto copy = [&]<typename Stored>(Stored) {
    std::size_t done = 0;
    while (done < out.size()) {
      const std::uint64_t at = offset + done;
      const auto& mapping = mappings_[at / info_.shard_tokens];
      const std::uint64_t inside = at % info_.shard_tokens;
      const auto* tokens = static_cast<const Stored*>(mapping.data) + inside;
      const auto count = static_cast<std::size_t>(
          std::min<std::uint64_t>(out.size() - done, mapping.bytes / sizeof(Stored) - inside));
      std::copy(tokens, tokens + count, out.begin() + static_cast<std::ptrdiff_t>(done));
      done += count;
    }
  };
  if (info_.bytes_per_token() == 2) {
    copy(std::uint16_t{});
  } else {
    copy(std::uint32_t{});
  }
}

void TokenSplit::read(std::uint64_t offset, std::span<std::int64_t> out) const {
  read_as(offset, out);
}

void TokenSplit::read(std::uint64_t offset, std::span<std::uint32_t> out) const {
  read_as(offset, out);
}

}  // namespace oasis
