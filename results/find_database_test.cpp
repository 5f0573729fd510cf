#include "results/find_database.h"

#include <gtest/gtest.h>

#include <fstream>

#include "results/test_support.h"

namespace oasis {
namespace {

namespace fs = std::filesystem;

TEST(FindDatabase, TheOnlyOneOrTheOneNamed) {
  TemporaryFolder folder;
  EXPECT_EQ(in_child([&] {
              fs::current_path(folder.path());
              expect_error(Error::Kind::kBadInput, {"no results database here", "--db"},
                           [] { find_database(""); });
              EXPECT_EQ(find_database("some.db"), "some.db");  // opening it says that it is missing
              fs::create_directories("runs/smoke");
              fs::create_directories("runs/empty");
              std::ofstream("runs/smoke/results.db") << "x";
              EXPECT_EQ(find_database(""), "runs/smoke/results.db");
              EXPECT_EQ(find_database("runs/smoke"), "runs/smoke/results.db");
              EXPECT_EQ(find_database("runs/empty"), "runs/empty");
              std::ofstream("oasis.db") << "x";
              expect_error(Error::Kind::kBadInput, {"oasis.db, runs/smoke/results.db", "--db"},
                           [] { find_database(""); });
            }),
            0);
}

}  // namespace
}  // namespace oasis
