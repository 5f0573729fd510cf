#include "datasets/prepare.h"

#include <algorithm>
#include <atomic>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "datasets/file_lock.h"
#include "datasets/hugging_face/hugging_face_tokenizer.h"
#include "datasets/sentencepiece_tokenizer.h"
#include "datasets/sources.h"
#include "datasets/synthetic/bigram_backcopy.h"
#include "support/error.h"
#include "support/sha256.h"

namespace oasis {
namespace {

constexpr std::size_t kSliceBytes = std::size_t{1} << 20;        // encoded by one thread at a time
constexpr std::size_t kSampleSliceBytes = std::size_t{1} << 16;  // of the tokenizer's sample
constexpr unsigned kMaxThreads = 8;
// Raise it when tokens or samples made from the same sources change: it enters every cache key.
constexpr int kPreparationVersion = 1;

std::string key_of(const nlohmann::json& json) {
  return sha256_hex(json.dump()).substr(0, 24);
}

nlohmann::json source_key(const DatasetDescription& description, const std::string& split,
                          const std::vector<std::pair<std::string, std::string>>& sources) {
  nlohmann::json hashes = nlohmann::json::array();
  for (const auto& [file, hash] : sources) hashes.push_back(hash);
  return {{"version", kPreparationVersion},
          {"sources", hashes},
          {"max_bytes", description.split(split).max_bytes}};
}

// Takes whole lines, at least `bytes` long where there are so many, off `text`, up to the first
// place where `can_cut(text, place)`.
template <typename CanCut>
std::string_view take_lines(std::string_view& text, std::size_t bytes, CanCut&& can_cut) {
  std::size_t end = std::min(bytes, text.size());
  while (end < text.size()) {
    end = std::min(text.find('\n', end - 1), text.size() - 1) + 1;
    if (end == text.size() || can_cut(text, end)) break;
    ++end;
  }
  const auto lines = text.substr(0, end);
  text.remove_prefix(end);
  return lines;
}

std::uint64_t count_words(std::string_view text) {
  std::uint64_t words = 0;
  bool inside = false;
  for (const char c : text) {
    const bool space = c == ' ' || (c >= '\t' && c <= '\r');
    words += !space && !inside;
    inside = !space;
  }
  return words;
}

// Encodes pieces in parallel and writes them in order.
class Encoder {
 public:
  Encoder(const Tokenizer& tokenizer, SplitWriter& writer)
      : tokenizer_(tokenizer),
        writer_(writer),
        threads_(std::clamp(std::thread::hardware_concurrency(), 1u, kMaxThreads)) {}

  // What follows the last place where a document may be cut waits for the next piece of it.
  void add(TextPiece&& piece) {
    const std::size_t searched = waiting_.size();
    waiting_ = waiting_.empty() ? std::move(piece.text) : std::move(waiting_) + piece.text;
    const auto end = piece.ends_document ? waiting_.size() : last_cut(waiting_, searched);
    if (end == 0 && !piece.ends_document) return;
    auto rest = waiting_.substr(end);
    waiting_.resize(end);
    pending_bytes_ += end;
    pieces_.push_back({std::exchange(waiting_, std::move(rest)), piece.ends_document});
    if (pending_bytes_ >= std::size_t{2} * threads_ * kSliceBytes) flush();
  }

  void flush() {
    slices_.clear();
    const auto can_cut = [this](std::string_view text, std::size_t at) {
      return tokenizer_.can_cut(text, at);
    };
    for (const auto& piece : pieces_) {
      std::string_view rest = piece.text;
      do {
        slices_.push_back(
            {take_lines(rest, kSliceBytes, can_cut), rest.empty() && piece.ends_document});
      } while (!rest.empty());
    }
    encode_slices();
    for (const auto& slice : slices_) {
      writer_.append(slice.ids);
      if (slice.ends_document) writer_.append(std::array{tokenizer_.end_of_text()});
      writer_.count(slice.ends_document ? 1 : 0, slice.text.size(), slice.words);
    }
    pieces_.clear();
    pending_bytes_ = 0;
  }

 private:
  struct Slice {
    std::string_view text;
    bool ends_document = false;
    std::vector<std::uint32_t> ids = {};
    std::uint64_t words = 0;
  };

  // The last place from byte `first` on where the text may be cut; 0 when there is none.
  std::size_t last_cut(std::string_view text, std::size_t first) const {
    for (std::size_t at = text.size(); at-- > std::max<std::size_t>(first, 1);) {
      if (text[at - 1] == '\n' && tokenizer_.can_cut(text, at)) return at;
    }
    return 0;
  }

  void encode_slices() {
    std::atomic<std::size_t> next = 0;
    std::exception_ptr failure;
    std::atomic_flag failed;
    const auto work = [&] {
      try {
        for (std::size_t i = next++; i < slices_.size(); i = next++) {
          tokenizer_.encode(slices_[i].text, slices_[i].ids);
          slices_[i].words = count_words(slices_[i].text);
        }
      } catch (...) {
        if (!failed.test_and_set()) failure = std::current_exception();
      }
    };
    {
      std::vector<std::jthread> helpers;
      for (unsigned i = 1; i < threads_ && i < slices_.size(); ++i) helpers.emplace_back(work);
      work();
    }
    if (failure) std::rethrow_exception(failure);
  }

  const Tokenizer& tokenizer_;
  SplitWriter& writer_;
  unsigned threads_;
  std::string waiting_;
  std::vector<TextPiece> pieces_;
  std::size_t pending_bytes_ = 0;
  std::vector<Slice> slices_;
};

void write_token_ids(const DatasetDescription& description, const std::string& split,
                     SplitWriter& writer) {
  const BigramBackcopy generator(description.seed);
  const std::uint64_t tokens = description.split(split).count;
  std::vector<std::uint32_t> sequence(description.sequence_length);
  std::uint64_t index = 0;
  for (std::uint64_t done = 0; done < tokens; ++index) {
    generator.sequence(split, index, sequence);
    const auto kept = std::min<std::uint64_t>(sequence.size(), tokens - done);
    writer.append(std::span(sequence).first(kept));
    done += kept;
  }
  writer.count(index, 0, 0);
}

void write_text(const DatasetDescription& description, const std::string& split,
                const Tokenizer& tokenizer, const DataFolders& folders,
                const ProgressCallback& progress, SplitWriter& writer) {
  Encoder encoder(tokenizer, writer);
  Progress state{fmt::format("tokenizing {}/{}", description.name, split), 0,
                 source_file_bytes(description, split, folders)};
  for_each_piece(description, split, folders, [&](TextPiece&& piece, std::uint64_t position) {
    encoder.add(std::move(piece));
    if (progress && position != state.done) {
      state.done = position;
      progress(state);
    }
  });
  encoder.flush();
}

// Lines of an evenly spread sample of the train split's text: of its runs of at least 64 KiB of
// whole lines, each is taken when the share taken so far is below sample_bytes of the whole.
class TrainingSample {
 public:
  TrainingSample(const DatasetDescription& description, const DataFolders& folders,
                 std::uint64_t sample_bytes) {
    std::uint64_t total = 0;
    for_each_piece(description, "train", folders,
                   [&total](TextPiece&& piece, std::uint64_t) { total += piece.text.size(); });
    const double share = static_cast<double>(sample_bytes) / static_cast<double>(total);
    double seen = 0;
    for_each_piece(description, "train", folders, [&](TextPiece&& piece, std::uint64_t) {
      std::string_view rest = piece.text;
      while (!rest.empty()) {
        const auto run =
            take_lines(rest, kSampleSliceBytes, [](std::string_view, std::size_t) { return true; });
        if (static_cast<double>(text_.size()) <= share * seen) {
          text_ += run;
          if (!text_.ends_with('\n')) text_ += '\n';
        }
        seen += static_cast<double>(run.size());
      }
    });
  }

  bool next_line(std::string& line) {
    if (at_ == text_.size()) return false;
    const std::size_t end = text_.find('\n', at_);
    line.assign(text_, at_, end - at_);
    at_ = end + 1;
    return true;
  }

 private:
  std::string text_;
  std::size_t at_ = 0;
};

// What processes that were killed left beside `folder`; the caller holds its lock.
void remove_unfinished(const std::filesystem::path& folder) {
  const auto prefix = folder.filename().string() + ".part-";
  for (const auto& item : std::filesystem::directory_iterator(folder.parent_path())) {
    std::error_code error;
    if (item.path().filename().string().starts_with(prefix)) {
      std::filesystem::remove_all(item.path(), error);
    }
  }
}

}  // namespace

TokenizerPtr prepare_tokenizer(const TokenizerOptions& options,
                               const DatasetDescription& description, const DataFolders& folders,
                               const ProgressCallback& progress) {
  if (description.is_token_ids()) {
    return integer_tokenizer(BigramBackcopy::kVocabSize, BigramBackcopy::kBos);
  }
  if (options.type == "byte") return byte_tokenizer();
  if (options.type == "hugging_face")
    return load_hugging_face(find_model_files(folders, options.path));

  auto key = source_key(description, "train", source_hashes(description, "train", folders));
  key["tokenizer"] = to_json(options);
  const auto folder =
      folders.cache / "tokenizers" /
      fmt::format("{}-{}-{}-{}", description.name, options.type, options.vocab_size, key_of(key));
  if (std::filesystem::exists(folder / kTokenizerFile)) return load_tokenizer(folder);

  auto lock_file = folder;
  lock_file += ".lock";
  const FileLock lock(lock_file);
  if (std::filesystem::exists(folder / kTokenizerFile)) return load_tokenizer(folder);
  if (progress) {
    progress(
        {fmt::format("learning a vocabulary of {} from {}", options.vocab_size, description.name),
         0, 0});
  }
  TrainingSample sample(description, folders, options.sample_bytes);
  const auto model = train_sentencepiece(
      options.vocab_size, [&sample](std::string& line) { return sample.next_line(line); });
  auto tokenizer = sentencepiece_from_model(model, folder.string());
  // The folder counts from when its last file is there.
  std::filesystem::create_directories(folder);
  tokenizer->save(folder);
  return tokenizer;
}

TokenSplitPtr prepare_split(const DatasetDescription& description, const std::string& split,
                            const TokenizerPtr& tokenizer, const DataFolders& folders,
                            const ProgressCallback& progress) {
  const auto sources = source_hashes(description, split, folders);
  if (description.is_token_ids() != (tokenizer->type() == "integer") ||
      (description.is_token_ids() && tokenizer->vocab_size() < BigramBackcopy::kVocabSize)) {
    throw bad_input(
        "data set '{}' does not go with a tokenizer of type '{}' and {} tokens: {}; evaluate on a "
        "data set of the kind trained on",
        description.name, tokenizer->type(), tokenizer->vocab_size(),
        description.is_token_ids() ? "it is token ids to begin with" : "it is text");
  }
  auto key = source_key(description, split, sources);
  key["tokenizer"] = tokenizer->hash();
  const auto folder =
      folders.cache / "shards" / fmt::format("{}-{}-{}", description.name, split, key_of(key));
  const auto open = [&folder] {
    auto opened = std::make_shared<const TokenSplit>(folder);
    opened->verify();
    return opened;
  };
  if (std::filesystem::exists(folder)) return open();

  auto lock_file = folder;
  lock_file += ".lock";
  const FileLock lock(lock_file);
  if (std::filesystem::exists(folder)) return open();
  remove_unfinished(folder);
  SplitInfo info;
  info.dataset = description.name;
  info.split = split;
  info.tokenizer_hash = tokenizer->hash();
  info.vocab_size = tokenizer->vocab_size();
  info.end_of_text = tokenizer->end_of_text();
  info.sources = sources;
  SplitWriter writer(folder, info);
  if (description.is_token_ids()) {
    write_token_ids(description, split, writer);
  } else {
    write_text(description, split, *tokenizer, folders, progress, writer);
  }
  writer.finish();
  return open();
}

}  // namespace oasis
