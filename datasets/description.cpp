#include "datasets/description.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "datasets/json_fields.h"
#include "datasets/registry.h"
#include "support/error.h"
#include "support/text.h"

namespace oasis {
namespace {

constexpr std::uint64_t kNoLimit = std::numeric_limits<std::int64_t>::max();
constexpr std::size_t kMaxName = 64;

void check_name(const std::string& name, const std::string& where) {
  const bool safe = !name.empty() && name.size() <= kMaxName && name[0] != '.' &&
                    name.find_first_not_of(
                        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                        "0123456789_.-") == std::string::npos;
  if (!safe) {
    throw bad_input(
        "{}.name: '{}' is not a data set name; use letters, digits, '_', '-' and '.', at most {}",
        where, name, kMaxName);
  }
}

// {"train": 100, …} into one member of each split that is named.
void set_numbers(const JsonFields& fields, const std::string& key, const std::string& where,
                 std::uint64_t low, DatasetDescription& description,
                 std::uint64_t SplitDescription::*member) {
  if (!fields.has(key)) return;
  const auto& object = fields.at(key);
  std::vector<std::string> splits;
  for (const auto& [split, unused] : description.splits) splits.push_back(split);
  const std::string place = where + "." + key;
  const JsonFields numbers(object, place, splits);
  for (const auto& item : object.items()) {
    description.splits.at(item.key()).*member = numbers.integer(item.key(), low, kNoLimit);
  }
}

void set_files(const nlohmann::json& object, const std::string& place,
               DatasetDescription& description) {
  const JsonFields fields(object, place, {"train", "valid", "test"});
  if (object.empty()) throw bad_input("{}: names no split", place);
  for (const auto& item : object.items()) {
    auto& split = description.splits[item.key()];
    if (!item.value().is_array() || item.value().empty()) {
      throw bad_input("{}.{}: must be a list of at least one file", place, item.key());
    }
    for (const auto& file : item.value()) {
      if (!file.is_string() || file.get_ref<const std::string&>().empty()) {
        throw bad_input("{}.{}: each file must be a path in a string", place, item.key());
      }
      split.files.emplace_back(file.get<std::string>());
    }
  }
}

}  // namespace

const SplitDescription& DatasetDescription::split(const std::string& split_name) const {
  const auto found = splits.find(split_name);
  if (found == splits.end()) {
    std::vector<std::string> known;
    for (const auto& [key, unused] : splits) known.push_back(key);
    throw bad_input("data set '{}' has no split '{}'; it has: {}", name, split_name,
                    join(known, ", "));
  }
  return found->second;
}

DatasetDescription parse_dataset(const nlohmann::json& json, const std::string& where) {
  if (!json.is_string() && !json.is_object()) {
    throw bad_input("{}: must be a data set's name or an object with 'name', not {}", where,
                    json.type_name());
  }
  const auto lookup = [&where](const std::string& name) {
    if (const auto* entry = find_dataset(name); entry != nullptr) return entry->description;
    throw bad_input("{}: unknown data set '{}'{}", where, name, suggestion(name, dataset_names()));
  };
  if (json.is_string()) return lookup(json.get<std::string>());

  const JsonFields fields(json, where,
                          {"name", "files", "max_bytes", "seed", "sequence_length", "count"});
  const std::string name = fields.text("name");
  DatasetDescription description;
  if (fields.has("files")) {
    check_name(name, where);
    if (find_dataset(name) != nullptr) {
      throw bad_input("{}.name: '{}' is a known data set; give your own files another name", where,
                      name);
    }
    description.name = name;
    set_files(fields.at("files"), where + ".files", description);
  } else {
    description = lookup(name);
  }
  const bool generated = description.kind != DatasetDescription::Kind::kFiles;
  const auto refuse = [&](const std::string& key, const char* why) {
    if (fields.has(key)) throw bad_input("{}.{}: {}; remove it", where, key, why);
  };
  if (generated) {
    refuse("max_bytes", "this data set is generated; 'count' says how much");
    set_numbers(fields, "count", where, 1, description, &SplitDescription::count);
    description.seed = fields.integer_or(description.seed, "seed", 0, kNoLimit);
  } else {
    refuse("count", "only generated data sets have it");
    refuse("seed", "only generated data sets have it");
    set_numbers(fields, "max_bytes", where, 1, description, &SplitDescription::max_bytes);
  }
  if (description.kind == DatasetDescription::Kind::kBigramBackcopy) {
    description.sequence_length =
        fields.integer_or(description.sequence_length, "sequence_length", 3, 1 << 20);
  } else {
    refuse("sequence_length", "only bigram_backcopy has it");
  }
  return description;
}

nlohmann::json to_json(const DatasetDescription& description) {
  nlohmann::json json = {{"name", description.name}};
  for (const auto& [name, split] : description.splits) {
    if (description.kind != DatasetDescription::Kind::kFiles) {
      json["count"][name] = split.count;
      continue;
    }
    for (const auto& file : split.files) json["files"][name].push_back(file.string());
    if (split.max_bytes > 0) json["max_bytes"][name] = split.max_bytes;
  }
  if (description.kind != DatasetDescription::Kind::kFiles) json["seed"] = description.seed;
  if (description.kind == DatasetDescription::Kind::kBigramBackcopy) {
    json["sequence_length"] = description.sequence_length;
  }
  return json;
}

}  // namespace oasis
