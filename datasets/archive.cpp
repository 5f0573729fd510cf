#include "datasets/archive.h"

#include <archive.h>
#include <archive_entry.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string_view>

#include "support/atomic_file.h"
#include "support/error.h"
#include "support/text.h"

namespace oasis {
namespace {

constexpr std::size_t kBlockBytes = std::size_t{1} << 18;

struct FreeArchive {
  void operator()(struct archive* handle) const { archive_read_free(handle); }
};
using Archive = std::unique_ptr<struct archive, FreeArchive>;

// libarchive leaves the text out for some damage.
std::string reason(struct archive* archive) {
  const char* text = archive_error_string(archive);
  return text == nullptr ? "damaged" : text;
}

Archive open_archive(const std::filesystem::path& path) {
  Archive archive(archive_read_new());
  if (!archive) throw failed("out of memory for unpacking {}", path.string());
  archive_read_support_format_zip(archive.get());
  archive_read_support_format_tar(archive.get());
  archive_read_support_filter_gzip(archive.get());
  archive_read_support_filter_bzip2(archive.get());
  archive_read_support_filter_xz(archive.get());
  archive_read_support_filter_zstd(archive.get());
  if (archive_read_open_filename(archive.get(), path.c_str(), kBlockBytes) != ARCHIVE_OK) {
    throw failed("{}: not an archive that can be read: {}", path.string(), reason(archive.get()));
  }
  return archive;
}

bool has_parent_component(const std::filesystem::path& name) {
  return std::any_of(name.begin(), name.end(), [](const auto& part) { return part == ".."; });
}

// Whether `name` is `wanted` or ends with its components.
bool matches(std::string_view name, std::string_view wanted) {
  if (!name.ends_with(wanted)) return false;
  return name.size() == wanted.size() || name[name.size() - wanted.size() - 1] == '/';
}

class Extraction {
 public:
  Extraction(const std::filesystem::path& path, const ArchiveLimits& limits)
      : path_(path), limits_(limits), archive_(open_archive(path)) {}

  // The next entry's name, or nothing at the end.
  std::optional<std::string> next() {
    const int status = archive_read_next_header(archive_.get(), &entry_);
    if (status == ARCHIVE_EOF) return std::nullopt;
    if (status != ARCHIVE_OK) throw refuse(reason(archive_.get()));
    if (++entries_ > limits_.max_entries) {
      throw refuse(fmt::format("more than {} entries", limits_.max_entries));
    }
    const char* name = archive_entry_pathname(entry_);
    if (name == nullptr) throw refuse("an entry without a readable name");
    if (std::filesystem::path(name).is_absolute() || has_parent_component(name)) {
      throw refuse(fmt::format("the entry '{}' leads out of its folder", name));
    }
    const auto type = archive_entry_filetype(entry_);
    const bool link =
        archive_entry_hardlink(entry_) != nullptr || archive_entry_symlink(entry_) != nullptr;
    if (link || (type != AE_IFREG && type != AE_IFDIR)) {
      throw refuse(fmt::format("the entry '{}' is a link or device", name));
    }
    is_file_ = type == AE_IFREG;
    return name;
  }

  bool is_file() const { return is_file_; }

  // Reads the entry to its end, into a file or to nowhere; either way its bytes count.
  void read(AtomicFile* out) {
    while (true) {
      const void* block = nullptr;
      std::size_t bytes = 0;
      la_int64_t offset = 0;
      const int status = archive_read_data_block(archive_.get(), &block, &bytes, &offset);
      if (status == ARCHIVE_EOF) return;
      if (status != ARCHIVE_OK) throw refuse(reason(archive_.get()));
      bytes_ += bytes;
      if (bytes_ > limits_.max_bytes) {
        throw refuse(fmt::format("it unpacks to more than {}",
                                 human_bytes(static_cast<double>(limits_.max_bytes))));
      }
      if (out != nullptr) out->write(block, bytes);
    }
  }

  Error refuse(const std::string& why) const {
    return failed("{}: archive refused: {}; remove it and fetch it again", path_.string(), why);
  }

 private:
  std::filesystem::path path_;
  ArchiveLimits limits_;
  Archive archive_;
  struct archive_entry* entry_ = nullptr;  // owned by the archive
  std::uint64_t entries_ = 0;
  std::uint64_t bytes_ = 0;
  bool is_file_ = false;
};

}  // namespace

void extract_members(const std::filesystem::path& archive,
                     const std::vector<std::pair<std::string, std::filesystem::path>>& wanted,
                     const ArchiveLimits& limits) {
  Extraction extraction(archive, limits);
  std::vector<bool> found(wanted.size(), false);
  while (const auto name = extraction.next()) {
    const auto target = std::find_if(wanted.begin(), wanted.end(), [&name](const auto& member) {
      return matches(*name, member.first);
    });
    if (!extraction.is_file() || target == wanted.end()) {
      extraction.read(nullptr);
      continue;
    }
    const auto index = static_cast<std::size_t>(target - wanted.begin());
    if (found[index]) throw extraction.refuse(fmt::format("two entries are '{}'", target->first));
    found[index] = true;
    std::filesystem::create_directories(target->second.parent_path());
    AtomicFile file(target->second);
    extraction.read(&file);
    file.commit();
  }
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (!found[i]) throw extraction.refuse(fmt::format("it has no entry '{}'", wanted[i].first));
  }
}

}  // namespace oasis
