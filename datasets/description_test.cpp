#include "datasets/description.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "datasets/registry.h"
#include "datasets/test_support.h"

namespace oasis {
namespace {

DatasetDescription parse(const char* text) {
  return parse_dataset(nlohmann::json::parse(text), "s.json: dataset");
}

std::string refused(const char* text) {
  return message_of([text] { parse(text); });
}

TEST(Description, NamesOverridesAndOwnFiles) {
  EXPECT_EQ(to_json(parse(R"("books")")), to_json(dataset_entry("books").description));
  const auto cut = parse(R"({"name": "books", "max_bytes": {"train": 1000}})");
  EXPECT_EQ(cut.split("train").max_bytes, 1000u);
  EXPECT_EQ(cut.split("valid").max_bytes, 0u);
  const auto task = parse(
      R"({"name": "bigram_backcopy", "seed": 3, "sequence_length": 64, "count": {"train": 640}})");
  EXPECT_EQ(task.seed, 3u);
  EXPECT_EQ(task.sequence_length, 64u);
  EXPECT_EQ(task.split("train").count, 640u);
  EXPECT_TRUE(task.is_token_ids());
  const auto own = parse(R"({"name": "mine", "files": {"train": ["a.txt", "/b.jsonl"]},
                             "max_bytes": {"train": 5}})");
  EXPECT_EQ(own.split("train").files.size(), 2u);
  EXPECT_EQ(own.split("train").max_bytes, 5u);
}

TEST(Description, EqualDescriptionsGiveEqualJsonAndParseAgain) {
  for (const char* text :
       {R"({"name": "bigram_backcopy", "seed": 3})", R"({"name": "word_problems"})",
        R"({"name": "mine", "files": {"valid": ["a.txt"]}, "max_bytes": {"valid": 7}})"}) {
    const auto json = to_json(parse(text));
    if (json.contains("files") || json["name"] != "mine") {
      EXPECT_EQ(to_json(parse_dataset(json, "again")), json);
    }
  }
}

TEST(Description, MistakesNameThePlaceAndTheNearest) {
  EXPECT_TRUE(contains(refused(R"("boks")"),
                       "s.json: dataset: unknown data set 'boks' (did you "
                       "mean 'books'?)"));
  EXPECT_TRUE(contains(refused("7"), "must be a data set's name or an object"));
  EXPECT_TRUE(contains(refused("{}"), "key 'name' is missing"));
  EXPECT_TRUE(contains(refused(R"({"name": "books", "max_byte": {}})"), "'max_bytes'"));
  EXPECT_TRUE(contains(refused(R"({"name": "books", "max_bytes": {"trian": 5}})"),
                       "s.json: dataset.max_bytes: unknown key 'trian' (did you mean 'train'?)"));
  EXPECT_TRUE(contains(refused(R"({"name": "books", "max_bytes": {"train": 0}})"), "not 0"));
  EXPECT_TRUE(contains(refused(R"({"name": "books", "max_bytes": 5})"), "must be a JSON object"));
  EXPECT_TRUE(contains(refused(R"({"name": "books", "seed": 5})"), "only generated"));
  EXPECT_TRUE(contains(refused(R"({"name": "books", "sequence_length": 5})"), "bigram_backcopy"));
  EXPECT_TRUE(contains(refused(R"({"name": "word_problems", "max_bytes": {}})"), "'count' says"));
  EXPECT_TRUE(contains(refused(R"({"name": "bigram_backcopy", "sequence_length": 2})"), "from 3"));
  EXPECT_TRUE(contains(refused(R"({"name": "../x", "files": {"train": ["a.txt"]}})"),
                       "is not a data set name"));
  EXPECT_TRUE(contains(refused(R"({"name": "books", "files": {"train": ["a.txt"]}})"),
                       "is a known data set"));
  EXPECT_TRUE(contains(refused(R"({"name": "m", "files": {"dev": ["a.txt"]}})"), "'dev'"));
  EXPECT_TRUE(contains(refused(R"({"name": "m", "files": {"train": []}})"), "at least one file"));
  EXPECT_TRUE(contains(refused(R"({"name": "m", "files": {"train": [3]}})"), "path in a string"));
  EXPECT_TRUE(contains(refused(R"({"name": "m", "files": {}})"), "names no split"));
  EXPECT_TRUE(contains(message_of([] { parse(R"("gsm8k")").split("valid"); }),
                       "has no split 'valid'; it has: test, train"));
}

TEST(Registry, EntriesAreConsistent) {
  std::set<std::string> names;
  for (const auto& entry : dataset_registry()) {
    const auto& name = entry.description.name;
    EXPECT_TRUE(names.insert(name).second) << name;
    EXPECT_FALSE(entry.licence.empty()) << name;
    EXPECT_FALSE(entry.origin.empty()) << name;
    std::set<std::string> files;
    for (const auto& file : entry.files) {
      EXPECT_TRUE(files.insert(file.path).second) << file.path;
      EXPECT_TRUE(file.sha256.empty() || file.sha256.size() == 64) << file.path;
    }
    std::size_t read = 0;
    for (const auto& [split, description] : entry.description.splits) {
      for (const auto& file : description.files) {
        ++read;
        EXPECT_EQ(files.count(file.string()), 1u) << file;
      }
      EXPECT_EQ(description.count > 0, entry.files.empty()) << name;
    }
    EXPECT_EQ(read, files.size()) << name;
    for (const auto& wanted : entry.downloads) {
      EXPECT_FALSE(wanted.urls.empty());
      for (const auto& url : wanted.urls) EXPECT_EQ(url.rfind("https://", 0), 0u) << url;
      for (const auto& [member, path] : wanted.members) EXPECT_EQ(files.count(path), 1u) << path;
    }
  }
  EXPECT_TRUE(contains(message_of([] { dataset_entry("wikitext_3"); }), "did you mean"));
}

}  // namespace
}  // namespace oasis
