#include "results/benchmark_rows.h"

#include <SQLiteCpp/Transaction.h>
#include <fmt/format.h>

#include "results/bound_statement.h"
#include "results/sqlite_error.h"

namespace oasis {
namespace {

template <typename Value>
std::optional<Value> unless_failed(const BenchmarkRow& row, Value value) {
  return row.error.empty() ? std::optional(value) : std::nullopt;
}

constexpr const char* kInsert =
    "INSERT OR REPLACE INTO benchmarks (run_id, device, operation, variant, shape, dtype, pass,"
    " formulation, implementation, median_seconds, p10_seconds, p90_seconds, n, parts, error,"
    " bytes, flops, tokens, peak_bytes, copy_bytes_per_second, gemm_flops_per_second)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, nullif(?, ''), ?, ?, ?, ?, ?, ?)";

constexpr const char* kOfAge =
    "SELECT run_id, device, operation, variant, shape, dtype, pass, formulation, implementation,"
    " median_seconds, p10_seconds, p90_seconds, n, parts, error, bytes, flops, tokens, peak_bytes,"
    " copy_bytes_per_second, gemm_flops_per_second FROM table_bench WHERE age = ? + 1 ORDER BY id";

}  // namespace

std::string BenchmarkRow::name() const {
  std::string text = operation;
  for (const auto* part : {&variant, &shape, &dtype, &pass}) {
    if (!part->empty()) text += " " + *part;
  }
  text += ", " + formulation;
  if (!implementation.empty()) text += fmt::format(" ({})", implementation);
  return text;
}

void add_benchmark_row(Store& store, const BenchmarkRow& row) {
  auto& database = store.database();
  guarded(store.path(), database, [&] {
    SQLite::Transaction transaction(database, SQLite::TransactionBehavior::IMMEDIATE);
    BoundStatement(database, kInsert)
        .run(row.run_id, row.device, row.operation, row.variant, row.shape, row.dtype, row.pass,
             row.formulation, row.implementation, unless_failed(row, row.median_seconds),
             unless_failed(row, row.p10_seconds), unless_failed(row, row.p90_seconds),
             row.error.empty() ? row.n : 0, row.parts, row.error, row.bytes, row.flops, row.tokens,
             row.peak_bytes, row.copy_bytes_per_second, row.gemm_flops_per_second);
    transaction.commit();
  });
}

std::vector<BenchmarkRow> benchmark_rows(const Store& store, int age) {
  return guarded(store.path(), store.database(), [&] {
    BoundStatement query(store.database(), kOfAge);
    query.bind_all(age);
    std::vector<BenchmarkRow> rows;
    while (query.step()) {
      BenchmarkRow row;
      row.run_id = query.integer(0);
      int column = 1;
      for (auto* text : {&row.device, &row.operation, &row.variant, &row.shape, &row.dtype,
                         &row.pass, &row.formulation, &row.implementation}) {
        *text = query.text(column++);
      }
      row.median_seconds = query.real(9);
      row.p10_seconds = query.real(10);
      row.p90_seconds = query.real(11);
      row.n = query.integer(12);
      row.parts = query.real(13);
      row.error = query.text(14);
      row.bytes = query.real(15);
      row.flops = query.real(16);
      row.tokens = query.integer(17);
      if (!query.is_null(18)) row.peak_bytes = query.integer(18);
      row.copy_bytes_per_second = query.real(19);
      row.gemm_flops_per_second = query.real(20);
      rows.push_back(std::move(row));
    }
    return rows;
  });
}

}  // namespace oasis
