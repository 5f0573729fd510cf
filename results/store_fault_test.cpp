// Files that cannot be used as they are: one message each, exit status 2, and
// nothing that was stored is lost.
#include <SQLiteCpp/Database.h>
#include <SQLiteCpp/Transaction.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <fstream>

#include "results/store.h"
#include "results/test_support.h"
#include "support/sha256.h"

namespace oasis {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

constexpr auto kBoth = {Store::Mode::kCreate, Store::Mode::kReadOnly};

// A small file system in memory, where the test may mount one.
class SmallDisk {
 public:
  SmallDisk(const fs::path& where, const std::string& options) : where_(where) {
    fs::create_directories(where);
    mounted_ = ::mount("tmpfs", where.c_str(), "tmpfs", 0, options.c_str()) == 0;
  }
  ~SmallDisk() {
    if (mounted_) ::umount2(where_.c_str(), MNT_DETACH);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  bool mounted() const { return mounted_; }
  void make_read_only() {
    ASSERT_EQ(::mount("tmpfs", where_.c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, ""), 0);
  }

 private:
  fs::path where_;
  bool mounted_ = false;
};

void write_text(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

// Does `work` as a user for whom permissions count, which they do not for root.
void as_ordinary_user(const std::function<void()>& work) {
  if (::geteuid() != 0) return work();
  EXPECT_EQ(in_child([&] {
              if (::setgid(65534) != 0 || ::setuid(65534) != 0) {
                throw std::runtime_error("cannot become an ordinary user");
              }
              work();
            }),
            0);
}

TEST(StoreFault, NotADatabase) {
  TemporaryFolder folder;
  const auto path = folder / "r.db";
  write_text(path, std::string(5000, 'x'));
  const auto before = sha256_file(path);
  for (const auto mode : kBoth) {
    expect_error(Error::Kind::kBadInput, {"r.db", "not a database", "--db"},
                 [&] { Store::open(path, mode); });
  }
  EXPECT_EQ(sha256_file(path), before);
  EXPECT_FALSE(fs::exists(folder / "r.db-wal"));
}

TEST(StoreFault, DatabaseOfAnotherProgram) {
  TemporaryFolder folder;
  const auto path = folder / "r.db";
  SQLite::Database(path, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE).exec("CREATE TABLE t (a)");
  const auto before = sha256_file(path);
  for (const auto mode : kBoth) {
    expect_error(Error::Kind::kBadInput, {"r.db", "another program"},
                 [&] { Store::open(path, mode); });
  }
  EXPECT_EQ(sha256_file(path), before);
}

TEST(StoreFault, MissingEmptyOrAFolder) {
  TemporaryFolder folder;
  expect_error(Error::Kind::kBadInput, {"none.db", "no such database"},
               [&] { Store::open(folder / "none.db", Store::Mode::kReadOnly); });
  EXPECT_FALSE(fs::exists(folder / "none.db"));
  write_text(folder / "empty.db", "");
  expect_error(Error::Kind::kBadInput, {"empty.db", "holds no results"},
               [&] { Store::open(folder / "empty.db", Store::Mode::kReadOnly); });
  for (const auto mode : kBoth) {
    expect_error(Error::Kind::kBadInput, {"is a folder"},
                 [&] { Store::open(folder.path(), mode); });
  }
  write_text(folder / "file", "");
  expect_error(Error::Kind::kBadInput, {"file/r.db", "folder"},
               [&] { Store::open(folder / "file/r.db", Store::Mode::kCreate); });
}

TEST(StoreFault, CutShortIsFound) {
  TemporaryFolder folder;
  const auto path = folder / "r.db";
  {
    auto store = Store::open(path, Store::Mode::kCreate);
    write_sample_results(store);
  }
  fs::resize_file(path, fs::file_size(path) / 2);
  for (const auto mode : kBoth) {
    expect_error(Error::Kind::kBadInput, {"r.db", "damaged"}, [&] {
      auto store = Store::open(path, mode);
      store.comparable_contents();
    });
  }
}

TEST(StoreFault, LockedLongerThanTheTimeout) {
  TemporaryFolder folder;
  const auto path = folder / "r.db";
  auto store = Store::open(path, Store::Mode::kCreate, {.busy_timeout = 100ms});
  write_sample_results(store);
  SQLite::Database other(path, SQLite::OPEN_READWRITE);
  {
    SQLite::Transaction lock(other, SQLite::TransactionBehavior::EXCLUSIVE);
    const auto start = std::chrono::steady_clock::now();
    expect_error(Error::Kind::kBadInput, {"r.db", "locked"}, [&] { store.add_suite("b", "{}"); });
    EXPECT_GE(std::chrono::steady_clock::now() - start, 90ms);
  }
  store.add_suite("b", "{}");  // afterwards all is well
  // a lock of the whole file stops readers too
  SQLite::Database whole(path, SQLite::OPEN_READWRITE);
  store = Store::open(folder / "other.db", Store::Mode::kCreate);
  other = SQLite::Database(":memory:");
  whole.exec("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; UPDATE suites SET used = 't'");
  for (const auto mode : kBoth) {
    expect_error(Error::Kind::kBadInput, {"r.db", "locked"},
                 [&] { Store::open(path, mode, {.busy_timeout = 50ms}).comparable_contents(); });
  }
}

TEST(StoreFault, ReadOnlyFileAndFolder) {
  TemporaryFolder folder;
  const auto path = folder / "r.db";
  std::string contents;
  {
    auto store = Store::open(path, Store::Mode::kCreate);
    write_sample_results(store);
    contents = store.comparable_contents();
  }
  const auto before = sha256_file(path);
  ASSERT_EQ(::chmod(path.c_str(), 0444), 0);
  ASSERT_EQ(::chmod(folder.path().c_str(), 0555), 0);
  as_ordinary_user([&] {
    expect_error(Error::Kind::kBadInput, {"r.db", "read-only"},
                 [&] { Store::open(path, Store::Mode::kCreate); });
    expect_error(Error::Kind::kBadInput, {"new.db", "folder is writable"},
                 [&] { Store::open(folder / "new.db", Store::Mode::kCreate); });
    expect_error(Error::Kind::kBadInput, {"sub/new.db", "choose a writable folder"},
                 [&] { Store::open(folder / "sub/new.db", Store::Mode::kCreate); });
    // reading needs no permission to write
    EXPECT_EQ(Store::open(path, Store::Mode::kReadOnly).comparable_contents(), contents);
  });
  ASSERT_EQ(::chmod(folder.path().c_str(), 0755), 0);
  as_ordinary_user([&] {  // only the file is read-only
    expect_error(Error::Kind::kBadInput, {"r.db", "read-only"},
                 [&] { Store::open(path, Store::Mode::kCreate); });
  });
  EXPECT_EQ(sha256_file(path), before);
}

TEST(StoreFault, ReadOnlyDisk) {
  TemporaryFolder folder;
  const auto path = folder / "disk/odd name?#%.db";
  SmallDisk disk(folder / "disk", "size=4m");
  if (!disk.mounted()) GTEST_SKIP() << "mounting a tmpfs is not permitted here";
  std::string contents;
  {
    auto store = Store::open(path, Store::Mode::kCreate);
    write_sample_results(store);
    contents = store.comparable_contents();
  }
  disk.make_read_only();
  expect_error(Error::Kind::kBadInput, {"odd name?#%.db", "read-only"},
               [&] { Store::open(path, Store::Mode::kCreate); });
  EXPECT_EQ(Store::open(path, Store::Mode::kReadOnly).comparable_contents(), contents);
}

TEST(StoreFault, FullDiskKeepsWhatWasStored) {
  TemporaryFolder folder;
  const auto path = folder / "disk/r.db";
  SmallDisk disk(folder / "disk", "size=1m");
  if (!disk.mounted()) GTEST_SKIP() << "mounting a tmpfs is not permitted here";
  std::int64_t step = 0;
  {
    auto store = Store::open(path, Store::Mode::kCreate);
    const auto cell = store.add_cell(sample_cell(store.add_suite("a", "{}"), "oasis", 1));
    const auto stage = store.plan_stage(cell, sample_stage("k", "pretrain"));
    bool full = false;
    while (!full && step < 1'000'000) {
      std::vector<CurvePoint> points;
      for (int i = 0; i < 500; ++i) points.push_back({step + i + 1, 1, 1.5, 1.5, 1.5, 1.5});
      try {
        store.add_curve_points(stage.id, points);
        step += 500;
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), Error::Kind::kDiskFull) << error.what();
        EXPECT_EQ(error.exit_status(), 2);
        full = true;
      }
    }
    EXPECT_TRUE(full);
    EXPECT_EQ(store.curve(stage.id).size(), static_cast<std::size_t>(step));
  }
  ASSERT_EQ(::mount("tmpfs", (folder / "disk").c_str(), "tmpfs", MS_REMOUNT, "size=8m"), 0);
  auto store = Store::open(path, Store::Mode::kCreate);  // room again: it goes on
  const auto stage = *store.find_stage("k");
  EXPECT_EQ(store.curve(stage.id).size(), static_cast<std::size_t>(step));
  store.add_curve_points(stage.id, {{step + 1, 1, 1, 1, 1, 1}});
  EXPECT_EQ(store.database().execAndGet("PRAGMA integrity_check").getString(), "ok");
}

TEST(StoreFault, DiskTooFullToBegin) {
  TemporaryFolder folder;
  SmallDisk disk(folder / "disk", "size=16k");
  if (!disk.mounted()) GTEST_SKIP() << "mounting a tmpfs is not permitted here";
  expect_error(Error::Kind::kDiskFull, {"r.db", "disk is full"},
               [&] { Store::open(folder / "disk/r.db", Store::Mode::kCreate); });
  EXPECT_TRUE(fs::is_empty(folder / "disk"));
}

}  // namespace
}  // namespace oasis
