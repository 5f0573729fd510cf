#include "datasets/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <gtest/gtest.h>

#include "datasets/random.h"
#include "datasets/test_support.h"

namespace oasis {
namespace {

struct Entry {
  std::string name;
  std::string text = "";
  __LA_MODE_T type = AE_IFREG;
  std::string link = "";
};

enum class Format { kZip, kTarGz, kTarBz2, kTar };

void write_archive(const std::filesystem::path& file, Format format,
                   const std::vector<Entry>& entries) {
  struct archive* out = archive_write_new();
  if (format == Format::kZip) {
    archive_write_set_format_zip(out);
  } else {
    archive_write_set_format_pax_restricted(out);
    if (format == Format::kTarGz) archive_write_add_filter_gzip(out);
    if (format == Format::kTarBz2) archive_write_add_filter_bzip2(out);
  }
  ASSERT_EQ(archive_write_open_filename(out, file.c_str()), ARCHIVE_OK);
  for (const auto& item : entries) {
    struct archive_entry* entry = archive_entry_new();
    archive_entry_set_pathname(entry, item.name.c_str());
    archive_entry_set_filetype(entry, item.type);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_size(entry, static_cast<la_int64_t>(item.text.size()));
    if (item.type == AE_IFLNK) archive_entry_set_symlink(entry, item.link.c_str());
    if (item.type == AE_IFREG && !item.link.empty()) {
      archive_entry_set_hardlink(entry, item.link.c_str());
    }
    ASSERT_EQ(archive_write_header(out, entry), ARCHIVE_OK) << archive_error_string(out);
    archive_write_data(out, item.text.data(), item.text.size());
    archive_entry_free(entry);
  }
  ASSERT_EQ(archive_write_close(out), ARCHIVE_OK);
  archive_write_free(out);
}

class Archives : public testing::TestWithParam<Format> {
 protected:
  void extract(const ArchiveLimits& limits = {}) {
    extract_members(file_, {{"data/train.txt", folder_ / "out/train.txt"}}, limits);
  }

  std::string refused(const std::vector<Entry>& entries, const ArchiveLimits& limits = {}) {
    write_archive(file_, GetParam(), entries);
    return message_of([&] { extract(limits); }, 1);
  }

  std::size_t files_outside() const {
    std::size_t files = 0;
    for (const auto& item : std::filesystem::recursive_directory_iterator(folder_.path())) {
      files +=
          !item.is_directory() && item.path() != file_ && item.path() != folder_ / "out/train.txt";
    }
    return files;
  }

  TestFolder folder_;
  std::filesystem::path file_ = folder_ / "a.archive";
};

TEST_P(Archives, WantedMembersGoWhereTheCallerSays) {
  write_archive(file_, GetParam(),
                {{"top/", "", AE_IFDIR},
                 {"top/mydata/train.txt", "not this one"},
                 {"top/data/train.txt", "hello"},
                 {"top/readme", "no one asked"}});
  extract();
  EXPECT_EQ(read_text(folder_ / "out/train.txt"), "hello");
  EXPECT_EQ(files_outside(), 0u);
}

TEST_P(Archives, NamesThatLeadOutAreRefused) {
  for (const char* name : {"../data/train.txt", "x/../../data/train.txt", "/data/train.txt", "..",
                           "data/../data/train.txt"}) {
    EXPECT_TRUE(contains(refused({{name, "evil"}, {"data/train.txt", "x"}}), "leads out")) << name;
    EXPECT_EQ(files_outside(), 0u);
  }
}

TEST_P(Archives, LinksAreRefused) {
  EXPECT_TRUE(contains(refused({{"data/train.txt", "", AE_IFLNK, "/etc/passwd"}}), "is a link"));
  EXPECT_TRUE(contains(refused({{"other", "", AE_IFLNK, "x"}, {"data/train.txt", "x"}}),
                       "'other' is a link"));
  if (GetParam() == Format::kZip) return;  // has neither hard links nor devices
  EXPECT_TRUE(contains(refused({{"data/train.txt", "", AE_IFREG, "/etc/passwd"}}), "is a link"));
  EXPECT_TRUE(contains(refused({{"data/train.txt", "", AE_IFIFO}}), "is a link or device"));
  EXPECT_EQ(files_outside(), 0u);
}

TEST_P(Archives, LimitsHoldForAllEntriesWantedOrNot) {
  const std::string zeros(3'000'000, '\0');
  ArchiveLimits limits;
  limits.max_bytes = 2'000'000;
  EXPECT_TRUE(contains(refused({{"data/train.txt", zeros}}, limits), "unpacks to more than"));
  EXPECT_TRUE(contains(refused({{"bomb", zeros}, {"data/train.txt", "x"}}, limits), "more than"));
  limits = {};
  limits.max_entries = 3;
  EXPECT_TRUE(contains(refused({{"a"}, {"b"}, {"c"}, {"data/train.txt", "x"}}, limits),
                       "more than 3 entries"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "out/train.txt"));
  EXPECT_EQ(files_outside(), 0u) << "a part of a file was left";
}

TEST_P(Archives, MissingAndDoubleMembersAreErrors) {
  EXPECT_TRUE(contains(refused({{"data/valid.txt", "x"}}), "it has no entry 'data/train.txt'"));
  EXPECT_TRUE(
      contains(refused({{"data/train.txt", "x"}, {"b/data/train.txt", "y"}}), "two entries"));
}

TEST_P(Archives, CutOrFlippedIsAnErrorOrGivesTheRightText) {
  Random random(8);
  std::string text;
  for (int i = 0; i < 300; ++i) text += std::to_string(random.below(1000)) + "\n";
  write_archive(file_, GetParam(), {{"data/train.txt", text}});
  const auto whole = read_text(file_);
  for (int trial = 0; trial < 120; ++trial) {
    auto wrong = whole;
    if (trial % 2 == 0) {
      wrong.resize(random.below(whole.size()));
    } else {
      wrong[random.below(wrong.size())] ^= static_cast<char>(1 << random.below(8));
    }
    write_text(file_, wrong);
    std::filesystem::remove(folder_ / "out/train.txt");
    try {
      extract();
      // Plain tar protects its headers only, and libarchive does not compare gzip's checksum: the
      // SHA-256 of the archive is what finds the rest.
      if (GetParam() == Format::kZip || GetParam() == Format::kTarBz2) {
        EXPECT_EQ(read_text(folder_ / "out/train.txt"), text) << trial;
      }
    } catch (const Error& error) {
      EXPECT_EQ(error.exit_status(), 1);
      EXPECT_TRUE(contains(error.what(), file_.string()));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, Archives,
                         testing::Values(Format::kZip, Format::kTarGz, Format::kTarBz2,
                                         Format::kTar));

TEST(Archive, RandomBytesAreErrors) {
  TestFolder folder;
  Random random(9);
  for (int trial = 0; trial < 60; ++trial) {
    std::string bytes(1 + random.below(2000), '\0');
    for (auto& byte : bytes) byte = static_cast<char>(random.next());
    if (trial % 3 == 0) bytes.insert(0, "PK\x03\x04");
    if (trial % 3 == 1) bytes.insert(0, "\x1f\x8b\x08");
    write_text(folder / "a", bytes);
    message_of([&folder] { extract_members(folder / "a", {{"x", folder / "x"}}); }, 1);
  }
}

}  // namespace
}  // namespace oasis
