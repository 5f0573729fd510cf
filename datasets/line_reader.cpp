#include "datasets/line_reader.h"

#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

#include "support/error.h"
#include "support/text.h"

namespace oasis {
namespace {

constexpr std::size_t kChunkBytes = std::size_t{1} << 18;
constexpr std::size_t kMaxLineBytes = std::size_t{1} << 28;
constexpr int kMaxWindowLog = 27;

}  // namespace

// The bytes as they are.
class ByteSource {
 public:
  explicit ByteSource(std::filesystem::path path) : path_(std::move(path)) {
    std::error_code error;
    if (!std::filesystem::is_regular_file(path_, error)) {
      throw bad_input(
          "{}: no such file; correct its path or, for a data set, give the data folder with "
          "--data-home or OASIS_DATA_HOME, or fetch it with: oasis data fetch NAME",
          path_.string());
    }
    file_.reset(std::fopen(path_.c_str(), "rb"));
    if (!file_) throw bad_input("{}: cannot be read: {}", path_.string(), std::strerror(errno));
  }
  virtual ~ByteSource() = default;

  // Appends some bytes; false at the end.
  virtual bool read(std::string& out) {
    const std::size_t before = out.size();
    out.resize(before + kChunkBytes);
    const std::size_t got = read_file(out.data() + before, kChunkBytes);
    out.resize(before + got);
    return got > 0;
  }

  const std::filesystem::path& path() const { return path_; }
  std::uint64_t position() const { return position_; }

 protected:
  std::size_t read_file(char* out, std::size_t bytes) {
    const std::size_t got = std::fread(out, 1, bytes, file_.get());
    if (got < bytes && std::ferror(file_.get()) != 0) {
      throw bad_input("{}: reading failed: {}", path_.string(), std::strerror(errno));
    }
    position_ += got;
    return got;
  }

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::filesystem::path path_;
  std::unique_ptr<std::FILE, Close> file_;
  std::uint64_t position_ = 0;
};

namespace {

class ZstdSource : public ByteSource {
 public:
  explicit ZstdSource(std::filesystem::path path)
      : ByteSource(std::move(path)), stream_(ZSTD_createDStream()), input_(kChunkBytes) {
    if (!stream_) throw failed("out of memory for the Zstandard decoder");
    ZSTD_DCtx_setParameter(stream_.get(), ZSTD_d_windowLogMax, kMaxWindowLog);
  }

  bool read(std::string& out) override {
    const std::size_t before = out.size();
    out.resize(before + kChunkBytes);
    ZSTD_outBuffer output = {out.data() + before, kChunkBytes, 0};
    while (output.pos < output.size) {
      if (pending_.pos == pending_.size) {
        pending_ = {input_.data(), read_file(input_.data(), input_.size()), 0};
      }
      const bool at_end = pending_.size == 0;
      // Between frames the decoder must not be called without input: it would start a new frame.
      if (at_end && !frame_open_) break;
      const std::size_t already = output.pos;
      const std::size_t status = ZSTD_decompressStream(stream_.get(), &output, &pending_);
      if (ZSTD_isError(status) != 0) {
        throw bad_input("{}: damaged Zstandard data near byte {}: {}; replace the file",
                        path().string(), position(), ZSTD_getErrorName(status));
      }
      frame_open_ = status != 0;
      if (at_end && frame_open_ && output.pos == already) {
        throw bad_input("{}: cut short: the Zstandard data end inside a frame; replace the file",
                        path().string());
      }
    }
    out.resize(before + output.pos);
    return output.pos > 0;
  }

 private:
  struct Free {
    void operator()(ZSTD_DStream* stream) const { ZSTD_freeDStream(stream); }
  };
  std::unique_ptr<ZSTD_DStream, Free> stream_;
  std::vector<char> input_;
  ZSTD_inBuffer pending_ = {nullptr, 0, 0};
  bool frame_open_ = true;  // an empty file has no frame, which is as wrong as half of one
};

std::unique_ptr<ByteSource> open_source(const std::filesystem::path& file) {
  if (file.extension() == ".zst") return std::make_unique<ZstdSource>(file);
  return std::make_unique<ByteSource>(file);
}

}  // namespace

LineReader::LineReader(const std::filesystem::path& file) : source_(open_source(file)) {}
LineReader::~LineReader() = default;
LineReader::LineReader(LineReader&&) noexcept = default;
LineReader& LineReader::operator=(LineReader&&) noexcept = default;

const std::filesystem::path& LineReader::path() const {
  return source_->path();
}

std::uint64_t LineReader::position() const {
  return source_->position();
}

std::string_view LineReader::take(std::size_t wanted) {
  start_ = end_;
  std::size_t searched = wanted > 0 ? wanted - 1 : 0;  // bytes after start_ known to be passed
  std::size_t newline = std::string::npos;
  while (true) {
    const std::size_t available = buffer_.size() - start_;
    if (searched < available) newline = buffer_.find('\n', start_ + searched);
    if (newline != std::string::npos) break;
    searched = std::max(searched, available);
    if (searched > wanted + kMaxLineBytes) {
      throw bad_input("{}: line {} is longer than {}; split it", source_->path().string(),
                      line_ + 1, human_bytes(kMaxLineBytes));
    }
    buffer_.erase(0, std::exchange(start_, 0));
    if (!source_->read(buffer_)) break;
  }
  end_ = newline == std::string::npos ? buffer_.size() : newline + 1;
  const auto lines = std::string_view(buffer_).substr(start_, end_ - start_);
  line_ += static_cast<std::uint64_t>(std::count(lines.begin(), lines.end(), '\n'));
  if (!lines.empty() && lines.back() != '\n') ++line_;
  return lines;
}

}  // namespace oasis
