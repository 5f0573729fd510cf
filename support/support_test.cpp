#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "support/atomic_file.h"
#include "support/error.h"
#include "support/sha256.h"
#include "support/text.h"

namespace oasis {
namespace {

TEST(Sha256, MatchesFips180Examples) {
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(Sha256, MissingFileIsBadInput) {
  try {
    sha256_file("/nonexistent/file");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_status(), 2);
  }
}

TEST(AtomicFile, UncommittedWriteLeavesTheOldFile) {
  const auto folder = std::filesystem::temp_directory_path() / "oasis_atomic_file_test";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  const auto path = folder / "value";
  write_file_atomically(path, "old");
  {
    AtomicFile file(path);
    file.write("new");
  }
  std::stringstream contents;
  contents << std::ifstream(path).rdbuf();
  EXPECT_EQ(contents.str(), "old");
  std::filesystem::directory_iterator entries(folder);
  EXPECT_EQ(std::distance(begin(entries), end(entries)), 1) << "the temporary file was left";
}

TEST(AtomicFile, AFullDiskIsItsOwnKindOfError) {
  // Every write to /dev/full finds no room; the temporary file beside the target leads there.
  const auto folder = std::filesystem::temp_directory_path() / "oasis_atomic_file_full_test";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  const auto path = folder / "value";
  std::filesystem::create_symlink("/dev/full", fmt::format("{}.{}.part", path.string(), getpid()));
  try {
    write_file_atomically(path, "new");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Error::Kind::kDiskFull) << error.what();
    EXPECT_EQ(error.exit_status(), 2);
    EXPECT_NE(std::string(error.what()).find(path.string() + ": the disk is full"),
              std::string::npos);
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder));
}

TEST(NearestName, SuggestsATypoAndNothingFarAway) {
  const std::vector<std::string> names = {"learning_rate", "weight_decay", "seeds"};
  EXPECT_EQ(nearest_name("learningrate", names), "learning_rate");
  EXPECT_EQ(nearest_name("sedes", names), "seeds");
  EXPECT_EQ(nearest_name("tokenizer", names), "");
}

TEST(HumanText, RoundsSensibly) {
  EXPECT_EQ(human_bytes(1536), "1.5 KiB");
  EXPECT_EQ(human_duration(3725), "1h02m");
  EXPECT_EQ(human_duration(187), "3m07s");
  EXPECT_EQ(human_count(1234567), "1.2M");
}

}  // namespace
}  // namespace oasis
