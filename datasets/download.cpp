#include "datasets/download.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <memory>
#include <string_view>
#include <thread>

#include "support/error.h"
#include "support/sha256.h"
#include "support/text.h"

namespace oasis {
namespace {

constexpr long kMaxRedirects = 10;
constexpr long kConnectSeconds = 30;
constexpr auto kProgressInterval = std::chrono::milliseconds(100);

// The file that grows.
class PartFile {
 public:
  explicit PartFile(std::filesystem::path path) : path_(std::move(path)) {
    std::error_code error;
    std::filesystem::create_directories(path_.parent_path(), error);
    descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (descriptor_ < 0) {
      throw bad_input("{}: cannot be written: {}; give a writable folder with --data-home",
                      path_.string(), std::strerror(errno));
    }
    size_ = static_cast<std::uint64_t>(std::max<off_t>(::lseek(descriptor_, 0, SEEK_END), 0));
  }
  ~PartFile() { ::close(descriptor_); }
  PartFile(const PartFile&) = delete;
  PartFile& operator=(const PartFile&) = delete;

  std::uint64_t size() const { return size_; }

  void restart() {
    check(::ftruncate(descriptor_, 0) == 0 && ::lseek(descriptor_, 0, SEEK_SET) == 0, "truncating");
    size_ = 0;
  }

  void append(const char* data, std::size_t bytes) {
    while (bytes > 0) {
      const ssize_t written = ::write(descriptor_, data, bytes);
      if (written < 0 && errno == EINTR) continue;
      check(written >= 0, "writing");
      data += written;
      bytes -= static_cast<std::size_t>(written);
      size_ += static_cast<std::uint64_t>(written);
    }
  }

  void rename_to(const std::filesystem::path& target) {
    check(::fsync(descriptor_) == 0, "flushing to disk");
    check(::rename(path_.c_str(), target.c_str()) == 0, "renaming into place");
  }

 private:
  void check(bool ok, const char* step) const {
    if (!ok) throw failed("{}: {} failed: {}", path_.string(), step, std::strerror(errno));
  }

  std::filesystem::path path_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
};

struct Outcome {
  bool complete = false;
  bool again = false;  // worth another attempt at the same URL
  std::string problem;
};

class Transfer {
 public:
  Transfer(PartFile& part, std::uint64_t limit, Progress progress, const ProgressCallback& report)
      : part_(part), limit_(limit), progress_(std::move(progress)), report_(report) {}

  Outcome run(const std::string& url, const DownloadOptions& options) {
    const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(curl_easy_init(),
                                                                   curl_easy_cleanup);
    if (!curl) throw failed("libcurl cannot be started");
    curl_ = curl.get();
    asked_from_ = part_.size();
    char message[CURL_ERROR_SIZE] = "";
    const std::string range = fmt::format("{}-", asked_from_);
    curl_easy_setopt(curl_, CURLOPT_URL, url.c_str());
    curl_easy_setopt(curl_, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl_, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl_, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(curl_, CURLOPT_MAXREDIRS, kMaxRedirects);
    curl_easy_setopt(curl_, CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
    curl_easy_setopt(curl_, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(curl_, CURLOPT_LOW_SPEED_TIME,
                     std::max(1L, static_cast<long>(options.stall_seconds)));
    curl_easy_setopt(curl_, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl_, CURLOPT_USERAGENT, "oasis");
    curl_easy_setopt(curl_, CURLOPT_ERRORBUFFER, message);
    curl_easy_setopt(curl_, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl_, CURLOPT_HEADERDATA, this);
    curl_easy_setopt(curl_, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl_, CURLOPT_WRITEDATA, this);
    // Not CURLOPT_RESUME_FROM: that gives up where a server answers with the whole file.
    if (asked_from_ > 0) curl_easy_setopt(curl_, CURLOPT_RANGE, range.c_str());

    const CURLcode code = curl_easy_perform(curl_);
    if (failure_) std::rethrow_exception(failure_);
    long status = 0;
    curl_easy_getinfo(curl_, CURLINFO_RESPONSE_CODE, &status);
    return judge(code, status, message[0] != '\0' ? message : curl_easy_strerror(code));
  }

 private:
  Outcome judge(CURLcode code, long status, const std::string& message) {
    if (too_large_) return {false, false, fmt::format("larger than {} bytes", limit_)};
    if (wrong_range_ || status == 416) {  // 416: range not satisfiable
      part_.restart();
      return {false, true, "the server sent another part than was asked for"};
    }
    if (status >= 400) {
      const bool passing = status >= 500 || status == 408 || status == 429;
      return {false, passing, fmt::format("HTTP status {}", status)};
    }
    if (code != CURLE_OK) return {false, true, message};
    return {true, false, ""};
  }

  // Content-Range: bytes 100-199/200
  static std::size_t on_header(char* data, std::size_t, std::size_t bytes, void* self) {
    auto& transfer = *static_cast<Transfer*>(self);
    std::string line(data, bytes);
    std::transform(line.begin(), line.end(), line.begin(),
                   [](unsigned char c) { return std::tolower(c); });
    constexpr std::string_view kPrefix = "content-range: bytes ";
    if (line.starts_with("http/")) transfer.range_start_ = 0;  // a redirect's headers came before
    if (line.starts_with(kPrefix)) {
      std::from_chars(line.data() + kPrefix.size(), line.data() + line.size(),
                      transfer.range_start_);
    }
    return bytes;
  }

  static std::size_t on_body(char* data, std::size_t, std::size_t bytes, void* self) {
    auto& transfer = *static_cast<Transfer*>(self);
    try {
      return transfer.take(data, bytes) ? bytes : CURL_WRITEFUNC_ERROR;
    } catch (...) {  // not through libcurl, which is C
      transfer.failure_ = std::current_exception();
      return CURL_WRITEFUNC_ERROR;
    }
  }

  bool take(const char* data, std::size_t bytes) {
    if (!started_) {
      long status = 0;
      curl_easy_getinfo(curl_, CURLINFO_RESPONSE_CODE, &status);
      if (status >= 400) return false;
      if (status == 206 && range_start_ != asked_from_) {
        wrong_range_ = true;
        return false;
      }
      if (status != 206 && asked_from_ > 0) part_.restart();
      started_ = true;
    }
    if (bytes > limit_ - std::min(limit_, part_.size())) {
      too_large_ = true;
      return false;
    }
    part_.append(data, bytes);
    if (report_ && std::chrono::steady_clock::now() - reported_ >= kProgressInterval) {
      reported_ = std::chrono::steady_clock::now();
      progress_.done = part_.size();
      report_(progress_);
    }
    return true;
  }

  PartFile& part_;
  std::uint64_t limit_;
  Progress progress_;
  const ProgressCallback& report_;
  CURL* curl_ = nullptr;
  std::uint64_t asked_from_ = 0;
  std::uint64_t range_start_ = 0;
  bool started_ = false;
  bool wrong_range_ = false;
  bool too_large_ = false;
  std::exception_ptr failure_;
  std::chrono::steady_clock::time_point reported_ = {};
};

// "" when it is what was asked for.
std::string mismatch(const DownloadRequest& request, std::uint64_t bytes,
                     const std::string& sha256) {
  if (request.bytes > 0 && bytes != request.bytes) {
    return fmt::format("{} bytes instead of {}", bytes, request.bytes);
  }
  if (!request.sha256.empty() && sha256 != request.sha256) {
    return fmt::format("its SHA-256 is {}, not {}", sha256, request.sha256);
  }
  return "";
}

}  // namespace

std::string download(const DownloadRequest& request, const DownloadOptions& options,
                     const ProgressCallback& progress) {
  static const CURLcode started = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (started != CURLE_OK) throw failed("libcurl cannot be started");
  auto part_path = request.target;
  part_path += ".part";
  PartFile part(part_path);
  const std::uint64_t limit = request.bytes > 0 ? request.bytes : options.max_bytes;
  const Progress state{"fetching " + request.target.filename().string(), 0, request.bytes};
  std::string problems;
  for (const auto& url : request.urls) {
    double delay = options.retry_seconds;
    std::string problem;
    for (int attempt = 0; attempt < options.attempts; ++attempt) {
      if (attempt > 0) {
        std::this_thread::sleep_for(std::chrono::duration<double>(delay));
        delay *= 2;
      }
      const auto outcome = Transfer(part, limit, state, progress).run(url, options);
      problem = outcome.problem;
      if (outcome.complete) {
        auto hash = sha256_file(part_path);
        problem = mismatch(request, part.size(), hash);
        if (problem.empty()) {
          part.rename_to(request.target);
          return hash;
        }
        part.restart();  // whatever it is, more of it does not help
      } else if (!outcome.again) {
        break;
      }
    }
    problems += fmt::format("{}{}: {}", problems.empty() ? "" : "; ", url, problem);
  }
  throw failed("{}: could not be fetched: {}", request.target.string(), problems);
}

}  // namespace oasis
