#include "datasets/fetch.h"

#include <archive.h>
#include <archive_entry.h>
#include <gtest/gtest.h>

#include "datasets/checks.h"
#include "datasets/prepare.h"
#include "datasets/test_server.h"
#include "datasets/test_support.h"
#include "support/sha256.h"

namespace oasis {
namespace {

std::string zip_of(const std::vector<std::pair<std::string, std::string>>& members) {
  std::string out(1 << 16, '\0');
  std::size_t used = 0;
  struct archive* zip = archive_write_new();
  archive_write_set_format_zip(zip);
  archive_write_open_memory(zip, out.data(), out.size(), &used);
  for (const auto& [name, text] : members) {
    struct archive_entry* entry = archive_entry_new();
    archive_entry_set_pathname(entry, name.c_str());
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_size(entry, static_cast<la_int64_t>(text.size()));
    archive_write_header(zip, entry);
    archive_write_data(zip, text.data(), text.size());
    archive_entry_free(entry);
  }
  archive_write_close(zip);
  archive_write_free(zip);
  out.resize(used);
  return out;
}

// A data set as the registry describes them, but on the loopback: a file of known hash, a file of
// unknown hash, and an archive of two members, one of each.
class Fetch : public testing::Test {
 protected:
  Fetch() : folders_{root_ / "home", root_ / "cache"} {
    entry_.description.name = "loop";
    entry_.description.splits["train"].files = {"loop/known.txt", "loop/unknown.txt",
                                                "loop/in/a.txt", "loop/in/b.txt"};
    const DataFile known = {"loop/known.txt", 6, sha256_hex("known\n")};
    const DataFile unknown = {"loop/unknown.txt", 0, ""};
    entry_.files = {
        known, unknown, {"loop/in/a.txt", 2, sha256_hex("a\n")}, {"loop/in/b.txt", 0, ""}};
    entry_.downloads = {{{server_.url("/known")}, known, {}},
                        {{server_.url("/unknown")}, unknown, {}},
                        {{server_.url("/zip")},
                         {"downloads/loop.zip", 0, sha256_hex(zip_)},
                         {{"a.txt", "loop/in/a.txt"}, {"b.txt", "loop/in/b.txt"}}}};
    options_.retry_seconds = 0.001;
    options_.attempts = 2;
  }

  std::vector<std::filesystem::path> fetch() { return fetch_dataset(entry_, folders_, options_); }

  std::string states() {
    std::string all;
    for (const auto& check : check_dataset(entry_, folders_)) {
      all += std::string(name_of(check.state)) + " ";
    }
    return all;
  }

  TestFolder root_;
  DataFolders folders_;
  std::string zip_ = zip_of({{"top/a.txt", "a\n"}, {"top/b.txt", "b\n"}});
  TestServer server_{[this](const TestRequest& request) {
    if (request.path == "/known") return TestServer::file("known\n", request);
    if (request.path == "/unknown") return TestServer::file("unknown\n", request);
    return TestServer::file(zip_, request);
  }};
  DatasetEntry entry_;
  DownloadOptions options_;
};

TEST_F(Fetch, BringsAllAndOnlyOnce) {
  EXPECT_FALSE(is_present(entry_, folders_));
  EXPECT_EQ(states(), "missing missing missing missing ");
  EXPECT_EQ(fetch().size(), 4u);
  EXPECT_TRUE(is_present(entry_, folders_));
  EXPECT_EQ(states(), "good good good good ") << "hashes that were not known were recorded";
  EXPECT_EQ(read_text(folders_.home / "loop/in/b.txt"), "b\n");
  EXPECT_FALSE(std::filesystem::exists(folders_.home / "downloads/loop.zip"));
  EXPECT_EQ(read_text(folders_.home / "loop/SHA256SUMS"),
            sha256_hex("unknown\n") + "  unknown.txt\n");
  const auto asked = server_.requests().size();
  EXPECT_TRUE(fetch().empty());
  EXPECT_EQ(server_.requests().size(), asked) << "it was downloaded again";

  const auto split = prepare_split(entry_.description, "train", byte_tokenizer(), folders_);
  EXPECT_EQ(split->info().documents, 4u);
}

TEST_F(Fetch, DamagedFilesAreNamedAndFetchedAgain) {
  fetch();
  write_text(folders_.home / "loop/unknown.txt", "unknowm\n");
  write_text(folders_.home / "loop/in/a.txt", "b\n");
  const auto checks = check_dataset(entry_, folders_);
  EXPECT_EQ(states(), "good damaged damaged good ");
  EXPECT_EQ(checks[1].path, folders_.home / "loop/unknown.txt");
  EXPECT_TRUE(contains(checks[1].problem, sha256_hex("unknowm\n")));
  EXPECT_EQ(fetch().size(), 3u) << "the file, and both members of the archive";
  EXPECT_EQ(states(), "good good good good ");
}

TEST_F(Fetch, AFileWithoutKnownHashSaysSo) {
  write_text(folders_.home / "loop/unknown.txt", "unknown\n");
  EXPECT_EQ(states(), "missing no_known_hash missing missing ");
}

TEST_F(Fetch, AnArchiveWithAnotherMemberThanKnownIsAnError) {
  zip_ = zip_of({{"a.txt", "x\n"}, {"b.txt", "b\n"}});
  entry_.downloads[2].file.sha256.clear();
  EXPECT_TRUE(contains(message_of([this] { fetch(); }, 1), "the archive's 'a.txt' has SHA-256"));
}

TEST_F(Fetch, WhatCannotBeFetchedSaysWhy) {
  EXPECT_TRUE(contains(message_of([this] { fetch_dataset(dataset_entry("books"), folders_); }),
                       "'books' cannot be fetched: a selection kept with this project"));
  EXPECT_TRUE(
      contains(message_of([this] { fetch_dataset(dataset_entry("word_problems"), folders_); }),
               "it is generated"));
}

TEST_F(Fetch, CacheChecksNameTheDamagedFile) {
  fetch();
  const auto folder =
      prepare_split(entry_.description, "train", byte_tokenizer(), folders_)->folder();
  ASSERT_EQ(check_cache(folders_).size(), 1u);
  EXPECT_EQ(check_cache(folders_)[0].state, FileCheck::State::kGood);
  std::filesystem::resize_file(folder / "shard-00000.bin", 3);
  const auto checks = check_cache(folders_);
  EXPECT_EQ(checks[0].state, FileCheck::State::kDamaged);
  EXPECT_TRUE(contains(checks[0].problem, (folder / "shard-00000.bin").string()));
  write_text(folders_.cache / "tokenizers/x/oasis_tokenizer.json", "{");
  EXPECT_TRUE(contains(check_cache(folders_)[0].problem, "tokenizers/x/oasis_tokenizer.json"));
}

}  // namespace
}  // namespace oasis
