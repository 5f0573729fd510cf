#include "results/export_results.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>

#include "results/test_support.h"
#include "support/sha256.h"

namespace oasis {
namespace {

std::string text_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(ExportResults, WritesEveryTableViewAndSuiteWithSumsThatHold) {
  const TemporaryFolder folder;
  {
    auto store = Store::open(folder / "results.db", Store::Mode::kCreate);
    write_sample_results(store);
  }
  const auto store = Store::open(folder / "results.db", Store::Mode::kReadOnly);
  const auto written = export_results(store, folder / "artifact");
  EXPECT_GT(written.rows, 50);
  const auto metrics = text_of(folder / "artifact/tables/metrics.csv");
  EXPECT_EQ(metrics.substr(0, metrics.find('\n')),
            "stage_id,name,dataset,value,low,high,reason,unit,n,varies");
  EXPECT_NE(metrics.find("perplexity,wikitext-2,110.0,"), std::string::npos) << metrics;
  EXPECT_NE(text_of(folder / "artifact/views/table_perplexity.csv").find("oasis"),
            std::string::npos);
  EXPECT_NE(text_of(folder / "artifact/runs.json").find("0123456789abcdef"), std::string::npos);
  EXPECT_NE(text_of(folder / "artifact/schema.sql").find("CREATE TABLE stages"), std::string::npos);

  std::ifstream sums(folder / "artifact/SHA256SUMS");
  std::int64_t files = 0;
  for (std::string sum, name; sums >> sum >> name; ++files) {
    EXPECT_EQ(sum, sha256_file(folder / ("artifact/" + name))) << name;
  }
  EXPECT_EQ(files + 1, written.files);
  std::int64_t suites = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "artifact/suites")) {
    EXPECT_EQ(text_of(entry.path()), "{\"name\":\"sample\"}\n");
    ++suites;
  }
  EXPECT_EQ(suites, 1);
}

TEST(ExportResults, RefusesAFolderThatIsThereAndLeavesNothingHalf) {
  const TemporaryFolder folder;
  {
    auto store = Store::open(folder / "results.db", Store::Mode::kCreate);
    write_sample_results(store);
  }
  const auto store = Store::open(folder / "results.db", Store::Mode::kReadOnly);
  std::filesystem::create_directory(folder / "artifact");
  expect_error(Error::Kind::kBadInput, {"artifact", "is there already", "name a folder"},
               [&] { export_results(store, folder / "artifact"); });
  std::ofstream(folder / "file") << "x";
  expect_error(Error::Kind::kBadInput, {"cannot be made", "writable"},
               [&] { export_results(store, folder / "file" / "artifact"); });
  std::size_t entries = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    EXPECT_EQ(entry.path().string().find("unfinished"), std::string::npos) << entry.path();
    ++entries;
  }
  EXPECT_GE(entries, 3U);
}

}  // namespace
}  // namespace oasis
