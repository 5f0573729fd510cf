// One change of the database, whole or not at all.
#pragma once

#include <SQLiteCpp/Transaction.h>

#include <filesystem>
#include <type_traits>

#include "results/sqlite_error.h"

namespace oasis {

// Runs `work` as a transaction of its own, begun as a writer so that it waits for the others at the
// start instead of failing in the middle. Translates what SQLite throws, as guarded().
template <typename Work>
auto changed(const std::filesystem::path& path, SQLite::Database& database, Work&& work) {
  return guarded(path, database, [&] {
    SQLite::Transaction transaction(database, SQLite::TransactionBehavior::IMMEDIATE);
    if constexpr (std::is_void_v<decltype(work())>) {
      work();
      transaction.commit();
    } else {
      auto result = work();
      transaction.commit();
      return result;
    }
  });
}

}  // namespace oasis
