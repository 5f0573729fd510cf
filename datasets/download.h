// One file over HTTP: resumed, retried, bounded, checked, and in place only when it is right.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "datasets/progress.h"

namespace oasis {

struct DownloadRequest {
  std::vector<std::string> urls;  // http or https; the same bytes; tried in order
  std::filesystem::path target;
  std::uint64_t bytes = 0;  // 0: not known
  std::string sha256;       // "": not known
};

struct DownloadOptions {
  int attempts = 5;                                   // for each URL
  double retry_seconds = 1;                           // before the second attempt; then doubling
  std::uint64_t max_bytes = std::uint64_t{16} << 30;  // where the size is not known
  double stall_seconds = 60;                          // without data: the attempt has failed
};

// Returns the file's SHA-256. What has arrived is kept in `target`.part until the file is complete:
// the next attempt, or the next call, asks for the rest (and starts again where the server sends
// the whole, or another part than asked for). Throws Error (failed) naming the URLs with what went
// wrong at each, and Error (bad input) when the folder cannot be written.
std::string download(const DownloadRequest& request, const DownloadOptions& options = {},
                     const ProgressCallback& progress = {});

}  // namespace oasis
