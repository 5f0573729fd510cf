#include "datasets/shards.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "datasets/random.h"
#include "datasets/test_support.h"
#include "support/sha256.h"

namespace oasis {
namespace {

SplitInfo small_info(std::uint32_t vocab_size) {
  SplitInfo info;
  info.dataset = "tiny";
  info.split = "train";
  info.tokenizer_hash = sha256_hex("tokenizer");
  info.vocab_size = vocab_size;
  info.end_of_text = vocab_size - 1;
  info.shard_tokens = 10;
  info.sources = {{"a.txt", sha256_hex("a")}};
  return info;
}

std::vector<std::uint32_t> write_split(const std::filesystem::path& folder,
                                       std::uint32_t vocab_size, std::size_t count) {
  Random random(vocab_size);
  std::vector<std::uint32_t> tokens(count);
  for (auto& token : tokens) token = static_cast<std::uint32_t>(random.below(vocab_size));
  SplitWriter writer(folder, small_info(vocab_size));
  writer.append(std::span(tokens).first(count / 3));
  writer.append(std::span(tokens).subspan(count / 3));
  writer.count(2, 100, 20);
  const auto info = writer.finish();
  EXPECT_EQ(info.tokens, count);
  return tokens;
}

class ShardWidth : public testing::TestWithParam<std::uint32_t> {};

TEST_P(ShardWidth, ReadsBackAcrossShardBoundaries) {
  TestFolder folder;
  const auto tokens = write_split(folder / "split", GetParam(), 37);
  const TokenSplit split(folder / "split");
  split.verify();
  EXPECT_EQ(split.size(), 37u);
  EXPECT_EQ(split.info().shards.size(), 4u);
  EXPECT_EQ(split.info().documents, 2u);
  EXPECT_EQ(std::filesystem::file_size(folder / "split/shard-00003.bin"),
            7 * (GetParam() <= 65536 ? 2 : 4));
  for (std::size_t from = 0; from <= 37; ++from) {
    std::vector<std::int64_t> read(37 - from);
    split.read(from, read);
    EXPECT_TRUE(std::equal(read.begin(), read.end(), tokens.begin() + static_cast<long>(from)));
  }
  std::vector<std::int64_t> past(2);
  message_of([&] { split.read(36, past); }, 1);
}

// The last vocabulary that fits 16 bits, and the first that does not.
INSTANTIATE_TEST_SUITE_P(Widths, ShardWidth, testing::Values(257u, 65536u, 65537u));

TEST(Shards, AreLittleEndian) {
  TestFolder folder;
  SplitWriter writer(folder / "split", small_info(257));
  writer.append(std::vector<std::uint32_t>{1, 256});
  writer.finish();
  EXPECT_EQ(read_text(folder / "split/shard-00000.bin"), std::string("\x01\x00\x00\x01", 4));
}

TEST(Shards, AnyFlippedBitIsFoundAndTheFileNamed) {
  TestFolder folder;
  write_split(folder / "split", 257, 25);
  for (const char* name : {"shard-00000.bin", "shard-00002.bin"}) {
    const auto file = folder / "split" / name;
    const auto right = read_text(file);
    for (std::size_t bit = 0; bit < right.size() * 8; ++bit) {
      auto wrong = right;
      wrong[bit / 8] = static_cast<char>(wrong[bit / 8] ^ (1 << (bit % 8)));
      write_text(file, wrong);
      const TokenSplit split(folder / "split");
      const auto message = message_of([&split] { split.verify(); });
      EXPECT_TRUE(contains(message, file.string() + ": damaged"));
    }
    write_text(file, right);
  }
  TokenSplit(folder / "split").verify();
}

TEST(Shards, CutShortOrMissingIsFoundAtOpening) {
  TestFolder folder;
  write_split(folder / "split", 257, 25);
  const auto file = folder / "split" / "shard-00001.bin";
  std::filesystem::resize_file(file, 19);
  EXPECT_TRUE(contains(message_of([&] { TokenSplit split(folder / "split"); }),
                       file.string() + ": damaged: 19 bytes where its sidecar says 20"));
  std::filesystem::remove(file);
  EXPECT_TRUE(contains(message_of([&] { TokenSplit split(folder / "split"); }), file.string()));
}

TEST(Sidecar, AnyFlippedBitOrCutIsFound) {
  TestFolder folder;
  write_split(folder / "split", 257, 25);
  const auto file = folder / "split" / kSidecarFile;
  const auto right = read_text(file);
  for (std::size_t bit = 0; bit < right.size() * 8; ++bit) {
    auto wrong = right;
    wrong[bit / 8] = static_cast<char>(wrong[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_TRUE(contains(message_of([&] { parse_split_info(wrong, file); }), file.string())) << bit;
  }
  for (std::size_t size = 0; size + 1 < right.size(); ++size) {  // the last byte is a newline
    message_of([&] { parse_split_info(right.substr(0, size), file); });
  }
}

// A sidecar whose own hash is right, as someone who wants to do harm would write it.
TEST(Sidecar, ContradictionsAreErrorsEvenUnderARightHash) {
  TestFolder folder;
  write_split(folder / "split", 257, 25);
  const auto right = nlohmann::json::parse(read_text(folder / "split" / kSidecarFile));
  const auto forged = [&right](const std::string& pointer, const nlohmann::json& value) {
    auto json = right;
    json.erase("sha256");
    json[nlohmann::json::json_pointer(pointer)] = value;
    json["sha256"] = sha256_hex(json.dump());
    return message_of([&json] { parse_split_info(json.dump(), "s.json"); });
  };
  EXPECT_TRUE(contains(forged("/shards/0/file", "../../etc/passwd"), "out of order"));
  EXPECT_TRUE(contains(forged("/shards/1/tokens", 9), "out of order"));
  EXPECT_TRUE(contains(forged("/shards/1/tokens", -1), "must be from 1 to 10"));
  EXPECT_TRUE(contains(forged("/tokens", 26), "do not add up"));
  EXPECT_TRUE(contains(forged("/end_of_text", 257), "must be from 0 to 256"));
  EXPECT_TRUE(contains(forged("/dtype", "uint32"), "dtype"));
  EXPECT_TRUE(contains(forged("/format_version", 2), "format version 2"));
  EXPECT_TRUE(contains(forged("/shards/2/sha256", "AB"), "64 lower-case"));
  EXPECT_TRUE(contains(forged("/tokens", 1e300), "must be an integer"));
  EXPECT_TRUE(contains(forged("/shards", 3), "must be an array"));
  for (const auto& item : right.items()) {
    auto json = right;
    json.erase(item.key());
    json.erase("sha256");
    if (item.key() != "sha256") json["sha256"] = sha256_hex(json.dump());
    EXPECT_TRUE(contains(message_of([&json] { parse_split_info(json.dump(), "s.json"); }),
                         "key '" + item.key() + "' is missing"));
  }
}

TEST(SplitWriter, UnfinishedLeavesNothingAndTokensAreChecked) {
  TestFolder folder;
  {
    SplitWriter writer(folder / "split", small_info(257));
    writer.append(std::vector<std::uint32_t>(25, 3));
    message_of([&writer] { writer.append(std::vector<std::uint32_t>{257}); }, 1);
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(SplitWriter, TheFirstToFinishStays) {
  TestFolder folder;
  SplitWriter second(folder / "split", small_info(257));
  second.append(std::vector<std::uint32_t>{1});
  // Another process would write beside ours; here the finished folder appears meanwhile.
  std::filesystem::create_directories(folder / "other");
  const auto tokens = write_split(folder / "other/split", 257, 12);
  std::filesystem::rename(folder / "other/split", folder / "split");
  second.finish();
  EXPECT_EQ(TokenSplit(folder / "split").size(), tokens.size());
}

TEST(SplitInfo, ContentHashDependsOnTokensAndTokenizer) {
  auto info = small_info(257);
  info.shards = {{"shard-00000.bin", 1, sha256_hex("x")}};
  const auto before = info.content_hash();
  info.tokenizer_hash = sha256_hex("other");
  EXPECT_NE(info.content_hash(), before);
}

}  // namespace
}  // namespace oasis
