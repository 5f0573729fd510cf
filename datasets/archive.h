// Taking known members out of a zip or tar archive that may have been made with ill intent.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace oasis {

struct ArchiveLimits {
  std::uint64_t max_bytes = std::uint64_t{64} << 30;  // unpacked, all entries together
  std::uint64_t max_entries = 100'000;
};

// Writes each wanted member (its path in the archive, or the last components of it) to the path
// beside it, atomically. Formats: zip, tar; compressed with gzip, bzip2, xz or zstd.
//
// The names in the archive never choose where anything is written. Even so an archive is refused as
// a whole when any entry is an absolute path, holds "..", or is a link or device; when it exceeds
// the limits; when it is seen to be damaged (the checksums of zip and bzip2 are compared, gzip's is
// not, plain tar has none: compare the archive's SHA-256 first); or when it lacks a wanted member.
// Throws Error (failed) naming archive and entry; members already written stay.
void extract_members(const std::filesystem::path& archive,
                     const std::vector<std::pair<std::string, std::filesystem::path>>& wanted,
                     const ArchiveLimits& limits = {});

}  // namespace oasis
