#include "datasets/prepare.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "datasets/hugging_face/test_tokenizer.h"
#include "datasets/loader.h"
#include "datasets/random.h"
#include "datasets/registry.h"
#include "datasets/synthetic/bigram_backcopy.h"
#include "datasets/synthetic/word_problems.h"
#include "datasets/test_support.h"

namespace oasis {
namespace {

class Prepare : public testing::Test {
 protected:
  Prepare() : folders_{root_ / "home", root_ / "cache"} {
    write_text(folders_.home / "a.jsonl",
               "{\"text\": \"one two\\nthree\"}\n{\"text\": \"four  five\\n\"}\n");
    write_text(folders_.home / "b.txt", "six\nseven eight\n");
  }

  static DatasetDescription mine(std::uint64_t max_bytes = 0) {
    DatasetDescription description;
    description.name = "mine";
    description.splits["train"] = {{"a.jsonl", "b.txt"}, max_bytes, 0};
    return description;
  }

  std::string text_of(const TokenSplit& split) {
    std::vector<std::uint32_t> ids(split.size());
    split.read(0, ids);
    std::string text;
    for (const auto id : ids) text += id == 256 ? '|' : static_cast<char>(id);
    return text;
  }

  TestFolder root_;
  DataFolders folders_;
};

TEST_F(Prepare, JoinsDocumentsWithEndOfTextAndCountsThem) {
  const auto split = prepare_split(mine(), "train", byte_tokenizer(), folders_);
  EXPECT_EQ(text_of(*split), "one two\nthree|four  five\n|six\nseven eight\n|");
  const auto& info = split->info();
  EXPECT_EQ(info.documents, 3u);
  EXPECT_EQ(info.source_bytes, 13u + 11 + 16);
  EXPECT_EQ(info.source_words, 3u + 2 + 3);
  EXPECT_EQ(info.tokens, info.source_bytes + info.documents);
  EXPECT_EQ(info.sources.size(), 2u);
  EXPECT_EQ(info.sources[1].first, "b.txt");
}

TEST_F(Prepare, MaxBytesCutsAfterTheLineInWhichTheyAreReached) {
  const auto text = [this](std::uint64_t max_bytes) {
    return text_of(*prepare_split(mine(max_bytes), "train", byte_tokenizer(), folders_));
  };
  EXPECT_EQ(text(1), "one two\n|");
  EXPECT_EQ(text(8), "one two\n|");
  EXPECT_EQ(text(9), "one two\nthree|");
  EXPECT_EQ(text(13), "one two\nthree|");
  EXPECT_EQ(text(14), "one two\nthree|four  five\n|");
  EXPECT_EQ(text(25), "one two\nthree|four  five\n|six\n|");
  EXPECT_EQ(text(1000), "one two\nthree|four  five\n|six\nseven eight\n|");
}

// Documents come in pieces and are encoded in slices; neither may show in the ids.
TEST_F(Prepare, HuggingFaceIdsAreThoseOfWholeDocuments) {
  auto json = small_tokenizer({{"Ċ", "Ċ"}, {"h", "e"}, {"Ġ", "h"}});
  std::string text;
  Random random(9);
  const std::vector<std::string> parts = {"he", "  he", "\n", "\n\n", "\n \n", "!", "é\n"};
  while (text.size() < 5'000'000) text += parts[random.below(parts.size())];
  write_text(folders_.home / "long.txt", text);
  write_text(folders_.home / "tok/tokenizer.json", json.dump());
  auto description = mine();
  description.splits["train"].files = {"long.txt", "b.txt"};
  TokenizerOptions options;
  options.type = "hugging_face";
  options.path = "tok";
  const auto tokenizer = prepare_tokenizer(options, description, folders_);
  const auto split = prepare_split(description, "train", tokenizer, folders_);
  auto expected = tokenizer->encode(text);
  expected.push_back(tokenizer->end_of_text());
  tokenizer->encode("six\nseven eight\n", expected);
  expected.push_back(tokenizer->end_of_text());
  std::vector<std::uint32_t> ids(split->size());
  split->read(0, ids);
  EXPECT_TRUE(ids == expected);
  EXPECT_EQ(split->info().source_bytes, text.size() + 16);

  options.path = "nowhere";
  EXPECT_TRUE(contains(message_of([&] { prepare_tokenizer(options, description, folders_); }),
                       (folders_.home / "nowhere").string() + ": no such file"));
}

TEST_F(Prepare, SecondCallUsesTheCacheAndChangedSourcesDoNot) {
  const auto first = prepare_split(mine(), "train", byte_tokenizer(), folders_);
  const auto written = std::filesystem::last_write_time(first->folder() / kSidecarFile);
  const auto second = prepare_split(mine(), "train", byte_tokenizer(), folders_);
  EXPECT_EQ(second->folder(), first->folder());
  EXPECT_EQ(std::filesystem::last_write_time(second->folder() / kSidecarFile), written);
  write_text(folders_.home / "b.txt", "six\nseven eighty\n");
  const auto third = prepare_split(mine(), "train", byte_tokenizer(), folders_);
  EXPECT_NE(third->folder(), first->folder());
  EXPECT_TRUE(contains(text_of(*third), "eighty"));
}

TEST_F(Prepare, DamagedShardIsAnErrorThatNamesIt) {
  const auto folder = prepare_split(mine(), "train", byte_tokenizer(), folders_)->folder();
  const auto file = folder / shard_name(0);
  auto bytes = read_text(file);
  bytes[5] ^= 4;
  write_text(file, bytes);
  EXPECT_TRUE(
      contains(message_of([this] { prepare_split(mine(), "train", byte_tokenizer(), folders_); }),
               file.string() + ": damaged"));
}

TEST_F(Prepare, MissingFolderAndFileSayWhereAndWhatToDo) {
  const auto message = [this](const DatasetDescription& description, const DataFolders& folders) {
    return message_of([&] { prepare_split(description, "train", byte_tokenizer(), folders); });
  };
  std::filesystem::remove(folders_.home / "b.txt");
  EXPECT_TRUE(contains(message(mine(), folders_), "no file " + (folders_.home / "b.txt").string()));
  const DataFolders nowhere = {root_ / "nowhere", folders_.cache};
  const auto missing = message(dataset_entry("gsm8k").description, nowhere);
  EXPECT_TRUE(contains(missing, "the data folder " + nowhere.home.string() + " does not exist"));
  EXPECT_TRUE(contains(missing, "--data-home"));
  EXPECT_TRUE(contains(missing, "oasis data fetch gsm8k"));
  EXPECT_FALSE(std::filesystem::exists(folders_.cache)) << "something was written";
}

TEST_F(Prepare, AKnownDataSetWithAnotherHashIsAnError) {
  write_text(folders_.home / "gsm8k/train.jsonl", "{\"text\": \"x\"}\n");
  EXPECT_TRUE(contains(message_of([this] {
                         prepare_split(dataset_entry("gsm8k").description, "train",
                                       byte_tokenizer(), folders_);
                       }),
                       "gsm8k/train.jsonl: damaged or another version"));
}

TEST_F(Prepare, UnwritableCacheIsAnErrorThatNamesIt) {
  write_text(root_ / "cache", "a file where the folder should be");
  EXPECT_TRUE(
      contains(message_of([this] { prepare_split(mine(), "train", byte_tokenizer(), folders_); }),
               (root_ / "cache").string()));
}

TEST_F(Prepare, BadSourceLeavesNothingBehind) {
  write_text(folders_.home / "a.jsonl", "{\"text\": \"fine\"}\n{\"text\": \n");
  EXPECT_TRUE(
      contains(message_of([this] { prepare_split(mine(), "train", byte_tokenizer(), folders_); }),
               "a.jsonl: line 2"));
  for (const auto& item : std::filesystem::directory_iterator(folders_.cache / "shards")) {
    EXPECT_EQ(item.path().extension(), ".lock") << item.path();
  }
}

TEST_F(Prepare, TokenIdDataNeedsItsOwnTokenizer) {
  const auto task = dataset_entry("bigram_backcopy").description;
  const auto tokenizer = prepare_tokenizer({}, task, folders_);
  EXPECT_EQ(tokenizer->type(), "integer");
  EXPECT_EQ(tokenizer->vocab_size(), BigramBackcopy::kVocabSize);
  const auto split = prepare_split(task, "valid", tokenizer, folders_);
  EXPECT_EQ(split->size(), task.split("valid").count);
  EXPECT_EQ(split->info().source_bytes, 0u);
  // Each sequence is one block of that length, and starts with BOS.
  const BlockLoader loader(split, static_cast<std::int64_t>(task.sequence_length), 1);
  const auto tokens = loader.samples(0, loader.blocks());
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    EXPECT_EQ(tokens[i] == BigramBackcopy::kBos, i % task.sequence_length == 0);
  }
  EXPECT_TRUE(
      contains(message_of([&] { prepare_split(task, "valid", byte_tokenizer(), folders_); }),
               "does not go with a tokenizer of type 'byte'"));
  EXPECT_TRUE(contains(message_of([&] { prepare_split(mine(), "train", tokenizer, folders_); }),
                       "does not go with a tokenizer of type 'integer'"));
}

TEST_F(Prepare, SentencePieceIsLearnedOnceAndMadeAgainTheSame) {
  auto problems = dataset_entry("word_problems").description;
  problems.splits["train"].count = 800;
  TokenizerOptions options{"sentencepiece", 380, 50'000};
  std::vector<std::string> said;
  const auto note = [&said](const Progress& progress) { said.push_back(progress.what); };
  const auto first = prepare_tokenizer(options, problems, folders_, note);
  EXPECT_EQ(said, std::vector<std::string>{"learning a vocabulary of 380 from word_problems"});
  EXPECT_EQ(prepare_tokenizer(options, problems, folders_, note)->hash(), first->hash());
  EXPECT_EQ(said.size(), 1u) << "it was learned again";
  const DataFolders elsewhere = {folders_.home, root_ / "cache2"};
  EXPECT_EQ(prepare_tokenizer(options, problems, elsewhere)->hash(), first->hash());
  options.sample_bytes = 60'000;
  EXPECT_NE(prepare_tokenizer(options, problems, folders_)->hash(), first->hash());

  // Slices and threads leave no trace: the whole split is what encoding each document gives.
  const auto split = prepare_split(problems, "train", first, folders_);
  std::vector<std::uint32_t> expected, found(split->size());
  for (std::uint64_t i = 0; i < 800; ++i) {
    first->encode(document(word_problem(problems.seed, "train", i)), expected);
    expected.push_back(first->end_of_text());
  }
  split->read(0, found);
  EXPECT_EQ(found, expected);
}

TEST_F(Prepare, LongDocumentsAreEncodedInSlicesWithoutATrace) {
  std::string text;
  for (int i = 0; text.size() < 9'000'000; ++i) text += "line " + std::to_string(i) + "\n";
  write_text(folders_.home / "long.jsonl", nlohmann::json{{"text", text}}.dump() + "\n");
  DatasetDescription description;
  description.name = "long";
  description.splits["train"].files = {"long.jsonl"};
  const auto split = prepare_split(description, "train", byte_tokenizer(), folders_);
  EXPECT_EQ(text_of(*split), text + "|");
  EXPECT_EQ(split->info().documents, 1u);
}

TEST_F(Prepare, ProcessesThatRaceMakeItOnceAndAgree) {
  auto problems = dataset_entry("word_problems").description;
  problems.splits["train"].count = 3000;
  std::vector<pid_t> children;
  for (int i = 0; i < 4; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      int status = 3;
      try {
        const auto tokenizer =
            prepare_tokenizer({"sentencepiece", 380, 50'000}, problems, folders_);
        status =
            prepare_split(problems, "train", tokenizer, folders_)->info().documents == 3000 ? 0 : 4;
      } catch (const std::exception&) {
      }
      _exit(status);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = -1;
    waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  }
  std::size_t splits = 0;
  for (const auto& item : std::filesystem::directory_iterator(folders_.cache / "shards")) {
    splits += item.is_directory();
  }
  EXPECT_EQ(splits, 1u);
}

TEST_F(Prepare, WhatAKilledProcessLeftIsRemoved) {
  const auto folder = prepare_split(mine(), "train", byte_tokenizer(), folders_)->folder();
  const std::filesystem::path left = folder.string() + ".part-1";
  std::filesystem::rename(folder, left);
  prepare_split(mine(), "train", byte_tokenizer(), folders_);
  EXPECT_FALSE(std::filesystem::exists(left));
  EXPECT_TRUE(std::filesystem::exists(folder));
}

TEST(Folders, CommandLineWinsOverEnvironmentOverDefault) {
  setenv("OASIS_DATA_HOME", "/from/environment", 1);
  setenv("XDG_CACHE_HOME", "/xdg", 1);
  unsetenv("OASIS_CACHE_HOME");
  EXPECT_EQ(resolve_folders("/given").home, "/given");
  EXPECT_EQ(resolve_folders("").home, "/from/environment");
  EXPECT_EQ(resolve_folders("").cache, "/xdg/oasis");
  unsetenv("OASIS_DATA_HOME");
  EXPECT_EQ(resolve_folders("").home, "/xdg/oasis/data");
  setenv("OASIS_CACHE_HOME", "/cache", 1);
  EXPECT_EQ(resolve_folders("").cache, "/cache");
  unsetenv("OASIS_CACHE_HOME");
  unsetenv("XDG_CACHE_HOME");
  setenv("HOME", "/somewhere", 1);
  EXPECT_EQ(resolve_folders("").cache, "/somewhere/.cache/oasis");
}

}  // namespace
}  // namespace oasis
