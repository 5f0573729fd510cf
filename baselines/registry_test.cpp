#include "baselines/registry.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "models/model_testing.h"

namespace oasis {
namespace {

using namespace testing_support;

struct Row {
  const char* name;
  Normalizer token;
  std::optional<Normalizer> depth;
  bool gate = false;
  Coupling::Kind coupling = Coupling::Kind::kNone;
};

// DESIGN.md, section 3.
const std::vector<Row>& design() {
  using enum Normalizer;
  constexpr auto kLearned = Coupling::Kind::kLearned, kFixed = Coupling::Kind::kFixed;
  static const std::vector<Row> rows = {
      {"attnres", kSoftmax, kSoftmax},
      {"clipped_softmax", kClippedSoftmax, kSoftmax},
      {"gated_attention", kSoftmax, kSoftmax, true},
      {"softmax1", kSoftmax1, kSoftmax},
      {"sparsemax", kSparsemax, kSparsemax},
      {"oasis", kSoftmax1, kSoftmax1, false, kLearned},
      {"prenorm", kSoftmax, std::nullopt},
      {"prenorm_softmax1", kSoftmax1, std::nullopt},
      {"entmax15", kEntmax15, kEntmax15},
      {"oasis_no_coupling", kSoftmax1, kSoftmax1},
      {"oasis_token_null_only", kSoftmax1, kSoftmax, false, kLearned},
      {"oasis_depth_null_only", kSoftmax, kSoftmax1},
      {"oasis_fixed_beta", kSoftmax1, kSoftmax1, false, kFixed},
  };
  return rows;
}

TEST(RegistryTest, EveryMethodIsTheDesigns) {
  for (const auto& row : design()) {
    const auto& method = find_method(row.name);
    EXPECT_EQ(method.name, row.name);
    EXPECT_EQ(method.token, row.token) << row.name;
    EXPECT_EQ(method.depth, row.depth) << row.name;
    EXPECT_EQ(method.is_routed(), row.depth.has_value()) << row.name;
    EXPECT_EQ(method.gate, row.gate) << row.name;
    EXPECT_EQ(method.coupling.kind, row.coupling) << row.name;
    EXPECT_FALSE(method.description.empty()) << row.name;
  }
  EXPECT_EQ(find_method("oasis_fixed_beta").coupling.beta, 1.0);
}

TEST(RegistryTest, NamesAreUniqueAndComplete) {
  const auto names = method_names();
  const std::set<std::string> unique(names.begin(), names.end());
  EXPECT_EQ(unique.size(), names.size());
  for (const auto& row : design()) EXPECT_TRUE(unique.contains(row.name)) << row.name;
}

TEST(RegistryTest, ThePapersSix) {
  const std::set<std::string> expected = {"attnres",  "clipped_softmax", "gated_attention",
                                          "softmax1", "sparsemax",       "oasis"};
  EXPECT_EQ(std::set<std::string>(paper_methods().begin(), paper_methods().end()), expected);
  EXPECT_EQ(paper_methods().size(), 6U);
  EXPECT_EQ(paper_methods().back(), "oasis");
}

TEST(RegistryTest, AnUnknownNameGetsTheNearest) {
  EXPECT_TRUE(
      says(refusal([] { find_method("sofmax1"); }), "unknown method 'sofmax1'", "'softmax1'"));
  EXPECT_TRUE(says(refusal([] { find_method(""); }), "unknown method"));
}

}  // namespace
}  // namespace oasis
