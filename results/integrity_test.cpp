#include "results/integrity.h"

#include <SQLiteCpp/Database.h>
#include <gtest/gtest.h>

#include <fstream>

#include "results/test_support.h"

namespace oasis {
namespace {

class Integrity : public ::testing::Test {
 protected:
  void SetUp() override {
    auto store = Store::open(path_, Store::Mode::kCreate);
    write_sample_results(store);
  }

  TemporaryFolder folder_;
  std::filesystem::path path_ = folder_ / "r.db";
};

TEST_F(Integrity, AWholeFileHasNoProblems) {
  EXPECT_TRUE(integrity_problems(path_).empty());
}

TEST_F(Integrity, FindsWhatIsCutOffOverwrittenOrPointsNowhere) {
  const auto damaged = folder_ / "damaged.db";
  const auto size = std::filesystem::file_size(path_);
  for (const auto left : {std::uintmax_t{0}, std::uintmax_t{10}, size / 2, size - 4096}) {
    std::filesystem::copy_file(path_, damaged, std::filesystem::copy_options::overwrite_existing);
    std::filesystem::resize_file(damaged, left);
    EXPECT_FALSE(integrity_problems(damaged).empty()) << left;
  }
  std::filesystem::copy_file(path_, damaged, std::filesystem::copy_options::overwrite_existing);
  {
    std::fstream file(damaged, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(size / 2 / 4096 * 4096));
    file << std::string(4096, '\xa5');
  }
  EXPECT_FALSE(integrity_problems(damaged).empty());
  EXPECT_FALSE(integrity_problems(folder_ / "none.db").empty());

  auto store = Store::open(path_, Store::Mode::kCreate);
  store.database().exec("PRAGMA foreign_keys = OFF; DELETE FROM suites");
  const auto problems = integrity_problems(path_);
  ASSERT_FALSE(problems.empty());
  EXPECT_NE(problems[0].find("of cells names a row of suites"), std::string::npos) << problems[0];
}

}  // namespace
}  // namespace oasis
